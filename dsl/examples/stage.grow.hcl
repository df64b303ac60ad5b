stage "grown" {
  from    = stage.seed
  freeze  = ["inherited"] # the layers of the seed
  adapter = peft.lora.adapter
  grow "interpolation" { layers = 5 }
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
    schedule "linear" { warmup_ratio = 0.05 }
  }
}
