stage "seed" {
  model = model.llama.small
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
    evaluate "validation" {
      every_steps = 100
      data        = data.fineweb_edu.corpus.validation
    }
  }
}
