# Each method trains, in a copy of a few thousand parameters.

mock_data "fineweb_edu" { documents = 100 }
variables {
  size                 = "1M"
  hidden_size          = 16
  intermediate_size    = 24
  num_attention_heads  = 2
  num_hidden_layers    = 6
  vocab_size           = 300
  rank                 = 2
  sequence_length      = 32
  reset_every          = 4
  restart_warmup_steps = 2
  validation_fraction  = 0.1
  evaluation_tokens    = 2000
  flops                = 2e10
}

run "vanilla" {
  state_key = "vanilla"
  parallel  = true
  variables { method = "vanilla" }
  assert {
    condition     = output.loss < 5.6
    error_message = "It did not learn: ${output.loss} nats a token."
  }
}

run "step_2" {
  state_key = "step_2"
  parallel  = true
  variables { method = "step-2" }
  assert {
    condition     = output.loss < 5.6
    error_message = "It did not learn: ${output.loss} nats a token."
  }
}

run "step_3" {
  state_key = "step_3"
  parallel  = true
  variables { method = "step-3" }
  assert {
    condition     = output.loss < 5.6
    error_message = "It did not learn: ${output.loss} nats a token."
  }
}

run "relora" {
  state_key = "relora"
  parallel  = true
  variables { method = "relora" }
  assert {
    condition     = output.loss < 5.6
    error_message = "It did not learn: ${output.loss} nats a token."
  }
}
