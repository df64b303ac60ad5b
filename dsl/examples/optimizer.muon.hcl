optimizer "muon" "main" {
  learning_rate = 0.02
  momentum      = 0.95
  others        = optimizer.adamw.rest # embeddings, head, norms and adapters
}
optimizer "adamw" "rest" { learning_rate = 3e-4 }
