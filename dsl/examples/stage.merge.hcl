stage "apart" {
  from    = stage.grown
  freeze  = ["*"]
  adapter = peft.lora.adapter
  merge   = false # the result is the weights, and the adapters beside them
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 1e8
  }
}

export "huggingface" "base" {
  model = stage.apart
  path  = "out/base"
  merge = false # without the adapters
}
