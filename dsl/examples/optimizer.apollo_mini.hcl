optimizer "apollo_mini" "main" {
  learning_rate = 0.01
  others        = optimizer.adamw.rest # embeddings, head, norms and adapters
}
optimizer "adamw" "rest" { learning_rate = 1e-3 }
