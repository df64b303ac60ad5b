export "huggingface" "final" {
  model          = stage.grown
  path           = "out/small"
  max_shard_size = "2 GB"
  generation_config {
    do_sample   = true
    temperature = 0.8
    top_p       = 0.95
  }
  model_card {
    license  = "apache-2.0"
    language = ["en"]
    result { evaluation = evaluate.perplexity.final }
  }
}
