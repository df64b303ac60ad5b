data "jsonl" "code" { source = "stack/*.jsonl" }

data "mixture" "all" {
  part {
    data   = data.fineweb_edu.corpus
    weight = 0.8
  }
  part {
    data   = data.jsonl.code
    weight = 0.2
  }
}
