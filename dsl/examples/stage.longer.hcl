# A stage that grows nothing: the same model on other documents.
data "jsonl" "code" { source = "stack/*.jsonl" }

stage "code" {
  from = stage.grown
  train {
    data            = data.jsonl.code
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 256
    steps           = 2000
    schedule "constant" { warmup_ratio = 0.02 }
  }
}
