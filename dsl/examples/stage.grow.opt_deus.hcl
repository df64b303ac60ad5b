stage "grown" {
  from = stage.seed
  grow "opt_deus" {
    layers   = 3 # of the six gaps between the seed's layers, the upper ones
    position = "upper"
  }
  freeze = ["inherited"]
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
    schedule "cosine" { min_lr_ratio = 0.1 }
  }
}
# stage.grown.num_hidden_layers → 10
