optimizer "scale" "main" {
  learning_rate         = 1e-3
  bf16_stochastic_round = true # 4 bytes a parameter of a projection in bf16: its weight and its gradient
  norms                 = optimizer.adamw.gains
}
optimizer "adamw" "gains" { learning_rate = 3e-3 }
