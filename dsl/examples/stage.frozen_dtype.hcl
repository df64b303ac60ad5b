stage "grown" {
  from         = stage.seed
  freeze       = ["inherited"]
  frozen_dtype = "nf4" # 4.13 bits a parameter of the seed's projections
  adapter      = peft.lora.adapter
  grow "interpolation" { layers = 5 }
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
  }
}
