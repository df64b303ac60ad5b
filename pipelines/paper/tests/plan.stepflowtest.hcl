# Every size and method of the paper has the budget of the others: that is the check equal_flops. Those in stages save as
# much of the layers' states as the paper says: 42.3 and 42.2 % in two stages and 53.9 % in three, which are quotients of
# rounded figures. Nothing is trained.

mock_data "fineweb_edu" { documents = 5000 }

run "vanilla_368M" {
  command  = plan
  parallel = true
  variables {
    size   = "368M"
    method = "vanilla"
  }
}

run "step_2_368M" {
  command  = plan
  parallel = true
  variables {
    size   = "368M"
    method = "step-2"
  }
  assert {
    condition     = output.layer_states_saving > 0.416
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "step_3_368M" {
  command  = plan
  parallel = true
  variables {
    size   = "368M"
    method = "step-3"
  }
  assert {
    condition     = output.layer_states_saving > 0.539
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "relora_368M" {
  command  = plan
  parallel = true
  variables {
    size   = "368M"
    method = "relora"
  }
}

run "vanilla_680M" {
  command  = plan
  parallel = true
  variables {
    size   = "680M"
    method = "vanilla"
  }
}

run "step_2_680M" {
  command  = plan
  parallel = true
  variables {
    size   = "680M"
    method = "step-2"
  }
  assert {
    condition     = output.layer_states_saving > 0.416
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "step_3_680M" {
  command  = plan
  parallel = true
  variables {
    size   = "680M"
    method = "step-3"
  }
  assert {
    condition     = output.layer_states_saving > 0.539
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "relora_680M" {
  command  = plan
  parallel = true
  variables {
    size   = "680M"
    method = "relora"
  }
}

run "vanilla_1_2B" {
  command  = plan
  parallel = true
  variables {
    size   = "1.2B"
    method = "vanilla"
  }
}

run "step_2_1_2B" {
  command  = plan
  parallel = true
  variables {
    size   = "1.2B"
    method = "step-2"
  }
  assert {
    condition     = output.layer_states_saving > 0.416
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "step_3_1_2B" {
  command  = plan
  parallel = true
  variables {
    size   = "1.2B"
    method = "step-3"
  }
  assert {
    condition     = output.layer_states_saving > 0.539
    error_message = "It saves ${100 * output.layer_states_saving} % of the layers' states."
  }
}

run "relora_1_2B" {
  command  = plan
  parallel = true
  variables {
    size   = "1.2B"
    method = "relora"
  }
}
