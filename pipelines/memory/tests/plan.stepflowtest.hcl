# What each method takes, by the plan, on generated documents. Nothing is trained.

mock_data "fineweb_edu" { documents = 1500 } # more than a batch of 512 sequences

run "quickstart" {
  command = plan
  assert {
    condition     = output.layer_bytes.adamw == 16 && output.layer_bytes.adamw_rounded == 12
    error_message = "AdamW does not take 16 bytes a parameter, or 12 without a master: ${jsonencode(output.layer_bytes)}."
  }
  assert {
    condition     = max([for m, n in output.layer_bytes : n if contains(["scale", "apollo_mini", "adafactor"], m)]...) < 4.1
    error_message = "An optimizer without a state of its own takes more than 4.1 bytes: ${jsonencode(output.layer_bytes)}."
  }
  assert {
    condition     = output.layer_bytes.stacked == min(values(output.layer_bytes)...)
    error_message = "What stacks everything does not take the least: ${jsonencode(output.layer_bytes)}."
  }
  assert {
    condition     = output.peak_bytes.stacked < 0.4 * output.peak_bytes.adamw
    error_message = "What stacks everything saves less than 60 % of the memory: ${jsonencode(output.peak_bytes)}."
  }
}

run "papers" {
  command = plan
  variables {
    size    = "60M"
    source  = "data/*.parquet"
    methods = ["adamw", "galore", "stacked"]
  }
  assert {
    condition     = output.layer_bytes.galore < 6.4 && output.layer_bytes.stacked < 3.8
    error_message = "Methods take more than they do: ${jsonencode(output.layer_bytes)}."
  }
}

run "no_such_method" {
  command = plan
  variables { methods = ["adam"] }
  expect_failures = [var.methods]
}

run "no_such_size" {
  command = plan
  variables { size = "70M" }
  expect_failures = [var.size]
}
