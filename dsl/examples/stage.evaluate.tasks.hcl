stage "seed" {
  model = model.llama.small
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
    keep_best       = "zero_shot.hellaswag.acc_norm" # the highest
    evaluate "zero_shot" {
      every_steps = 500
      tasks       = ["hellaswag", "lambada_openai"]
      limit       = 1000
    }
  }
}
