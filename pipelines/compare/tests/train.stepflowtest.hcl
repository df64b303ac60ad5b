# Each way learns, in a short comparison of one seed on generated documents.

mock_data "fineweb_edu" { documents = 300 }
variables {
  tokens = 3e4
  seeds  = [1]
}

run "learns" {
  assert {
    condition     = max(values(output.validation_loss)...) < 6.7
    error_message = "A way did not learn: ${jsonencode(output.validation_loss)}."
  }
}

run "up_to_date" {
  command = plan
  assert {
    condition     = !changes
    error_message = "A second plan is not up to date."
  }
}
