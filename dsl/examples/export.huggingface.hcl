export "huggingface" "final" {
  model          = stage.grown
  path           = "out/small"
  max_shard_size = "2 GB"
  model_card {
    license  = "apache-2.0"
    language = ["en"]
    result { evaluation = evaluate.perplexity.final }
  }
}
