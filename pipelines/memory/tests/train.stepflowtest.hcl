# What stacks all methods learns, on generated documents.

mock_data "fineweb_edu" { documents = 300 }
variables {
  tokens  = 3e4
  methods = ["stacked"]
}

run "learns" {
  assert {
    condition     = output.perplexity.stacked < 1600
    error_message = "The model did not learn: its perplexity is ${output.perplexity.stacked}, and 2048 if tokens are guessed."
  }
}

run "up_to_date" {
  command = plan
  assert {
    condition     = !changes
    error_message = "A second plan is not up to date."
  }
}
