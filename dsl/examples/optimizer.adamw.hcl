optimizer "adamw" "main" {
  learning_rate = 5e-4
  betas         = [0.9, 0.95]
  weight_decay  = 0.1
  no_decay      = ["*norm*", "*embed*"]
}

# 6 bytes a parameter instead of 16
optimizer "adamw" "small" {
  learning_rate         = 5e-4
  state_dtype           = "int8"
  bf16_stochastic_round = true
}
