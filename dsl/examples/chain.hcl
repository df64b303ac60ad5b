stage "step" {
  count = 2
  from  = count.index == 0 ? stage.seed : stage.step[count.index - 1]
  grow "interpolation" { layers = 2 }
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 1e9
  }
}
# stage.step[1].num_hidden_layers → 11
