# What the quickstart plans, at its full size and on generated documents. Nothing is trained.

mock_data "fineweb_edu" {}
mock_data "conversations" {}
override {
  target = task.go_docs
  values = { data_files = "tests/questions.jsonl" }
}

run "fits" {
  command = plan
  assert {
    condition     = max([for p in plan : try(p.stage.peak_bytes, 0)]...) < 48 * pow(1024, 2)
    error_message = "A stage takes more than 48 MiB."
  }
  assert {
    condition     = abs(sum([for a, p in plan : try(p.stage.tokens, 0) if a != "stage.tuned"]) / var.tokens - 1) < 0.01
    error_message = "The stages do not train on the tokens that are asked for."
  }
}

run "bf16" {
  command = plan
  variables { precision = "bf16" }
  assert {
    condition = (max([for p in plan : try(p.stage.bytes.weights, 0)]...) <
    max([for p in run.fits.plan : try(p.stage.bytes.weights, 0)]...))
    error_message = "Weights in bf16 take no less."
  }
}

run "too_few_tokens" {
  command = plan
  variables { tokens = 1e4 }
  expect_failures = [var.tokens]
}
