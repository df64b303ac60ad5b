data "conversations" "chats" {
  source              = ["ultrachat/*.parquet", "ours/*.jsonl"]
  form                = "messages"
  filter              = "source != \"forum\""
  validation_fraction = 0.01
  on_error            = "skip"
}
