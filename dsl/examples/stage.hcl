stage "seed" {
  model     = model.llama.small
  layers    = 7
  precision = "bf16"
  train {
    data             = data.fineweb_edu.corpus
    tokenizer        = tokenizer.bpe.english
    optimizer        = optimizer.adamw.main
    sequence_length  = 1024
    batch_size       = 256
    micro_batch_size = "auto"
    tokens           = 1e9
    checkpoint { every_steps = 500 }
  }
}
