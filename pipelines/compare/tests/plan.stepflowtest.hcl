# What the comparison plans, on generated documents. Nothing is trained.

mock_data "fineweb_edu" {}

run "fair" {
  command = plan
  # The largest stage trains all layers at once, with the FLOPs that each way has for each seed.
  assert {
    condition = abs(sum([for p in plan : try(p.stage.flops, 0)]) / (3 * length(var.seeds)) /
    max([for p in plan : try(p.stage.flops, 0)]...) - 1) < 0.01
    error_message = "The ways do not have equal FLOPs."
  }
  assert {
    condition     = output.tokens.small > output.tokens.step && output.tokens.step > output.tokens.vanilla
    error_message = "What costs less does not train on more: ${jsonencode(output.tokens)}."
  }
  assert {
    condition     = output.peak_bytes.step < 0.85 * output.peak_bytes.vanilla
    error_message = "Stages save less than 15 % of the memory: ${jsonencode(output.peak_bytes)}."
  }
}

run "bf16" {
  command = plan
  variables { precision = "bf16" }
  assert {
    condition     = output.peak_bytes.step < run.fair.peak_bytes.step
    error_message = "bf16 takes no less memory: ${output.peak_bytes.step} bytes."
  }
}

run "a_seed_twice" {
  command = plan
  variables { seeds = [1, 1] }
  expect_failures = [var.seeds]
}

run "no_learning_rate" {
  command = plan
  variables { learning_rates = { step = 0, vanilla = 1e-3, small = 1e-3 } }
  expect_failures = [var.learning_rates]
}
