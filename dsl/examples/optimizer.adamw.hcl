optimizer "adamw" "main" {
  learning_rate = 5e-4
  betas         = [0.9, 0.95]
  weight_decay  = 0.1
  no_decay      = ["*norm*", "*embed*"]
}
