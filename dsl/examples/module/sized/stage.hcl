optimizer "adamw" "main" { learning_rate = 5e-4 }
stage "whole" {
  model = model.llama.m
  train {
    data            = var.corpus
    tokenizer       = var.tokenizer
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 20 * model.llama.m.num_parameters
  }
}
output "model" { value = stage.whole }
output "parameters" { value = stage.whole.num_parameters }
