# A short quickstart on generated documents: it learns, grows without a jump, is up to date after that, and an interrupt
# changes no bit of it.

mock_data "fineweb_edu" { documents = 300 }
mock_data "conversations" {}
override {
  target = task.go_docs
  values = { data_files = "tests/questions.jsonl" }
}
variables { tokens = 3e4 }

run "learns" {
  assert {
    condition     = output.validation_loss < 6.5
    error_message = "It did not learn: ${output.validation_loss} nats a token, of ${log(2048, 2.718281828)} at the start."
  }
  assert {
    condition     = alltrue([for s in seam : abs(s.growth.after - s.growth.before) < 0.001 if can(s.growth)])
    error_message = "New layers change the loss: ${jsonencode(seam)}."
  }
  assert {
    condition     = alltrue([for s in seam : abs(s.merge.after - s.merge.before) < 0.001])
    error_message = "Merging the adapters changes the loss: ${jsonencode(seam)}."
  }
}

run "up_to_date" {
  command = plan
  assert {
    condition     = !changes
    error_message = "A second plan is not up to date."
  }
}

run "resumed" {
  state_key = "resumed"
  interrupt { at_step = 5 }
  assert {
    condition     = { for a, b in state : a => b.content } == { for a, b in run.learns.state : a => b.content }
    error_message = "Resuming changed the bits."
  }
}
