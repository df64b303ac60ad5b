executor "local" "here" {}

# This one runs in the process of apply, whatever defaults say.
stage "small" {
  model    = model.llama.small
  executor = executor.local.here
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 32
    tokens          = 1e6
  }
}
