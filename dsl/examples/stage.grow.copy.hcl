stage "grown" {
  from = stage.seed
  grow "copy" { layers = 3 } # each of the three highest layers twice
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    tokens          = 100e9
    stop_at         = 0.2 # raise it, and the stage goes on from where it ended
    schedule "wsd" { warmup_ratio = 0.01 }
  }
}
