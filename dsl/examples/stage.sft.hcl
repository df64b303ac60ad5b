data "conversations" "pairs" { source = "pairs/*.jsonl" }

stage "chat" {
  from = stage.seed
  train {
    objective       = "sft"
    data            = data.conversations.pairs
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    steps           = 2000
  }
}
