data "fineweb_edu" "corpus" {
  source              = "hf://datasets/HuggingFaceFW/fineweb-edu@v1.0.0/sample/10BT/*.parquet"
  min_int_score       = 3
  dump                = ["CC-MAIN-2024-10", "CC-MAIN-2023-50"]
  deduplicate         = true
  validation_fraction = 0.001
}
