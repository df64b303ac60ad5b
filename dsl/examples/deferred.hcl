# How long to train is decided by what the seed learned.
stage "grown" {
  from = stage.seed
  grow "interpolation" { layers = 5 }
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = stage.seed.loss > 4 ? 2e9 : 1e9
  }
}
# stage.grown.num_hidden_layers → (known after apply)
