data "jsonl" "hellaswag" { source = "eval/hellaswag.jsonl" }
data "jsonl" "piqa" { source = "eval/piqa.jsonl" }

data "parquet" "clean" {
  source = "web/*.parquet"
  decontaminate { data = data.jsonl.hellaswag.all }
  decontaminate {
    data        = data.jsonl.piqa.all
    max_matches = 10 # as GPT-3 did
  }
  decontaminate { tasks = ["arc_easy"] }
}
