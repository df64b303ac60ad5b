evaluate "tasks" "zero_shot" {
  model = stage.grown
  tasks = ["hellaswag", "arc_easy", "mmlu", "eval/mine.yaml"]
  limit = 1000
  data_files = {
    hellaswag = "eval/hellaswag/{split}-*.parquet"
    arc_easy  = "eval/arc/{dataset_name}/{split}-*.parquet"
    mmlu      = "eval/mmlu/{dataset_name}/{split}-*.parquet"
  }
}
output "hellaswag" {
  value = evaluate.tasks.zero_shot.results["hellaswag"].acc_norm # (known after apply)
}
