data "jsonl" "code" {
  source              = ["stack/python/*.jsonl.gz", "stack/go/*.jsonl.gz"]
  text_column         = "content"
  id_column           = "meta.sha256" # a field of a field
  on_error            = "skip"
  validation_fraction = 0.01
}
