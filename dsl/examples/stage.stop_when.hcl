stage "seed" {
  model = model.llama.small
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 1e9
    keep_best       = "validation.loss"
    evaluate "validation" {
      every_tokens = 10e6
      data         = data.fineweb_edu.corpus.validation
    }
    stop_when {
      value    = "validation.loss"
      patience = 5
    }
  }
}
