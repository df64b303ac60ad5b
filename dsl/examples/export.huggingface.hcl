export "huggingface" "final" {
  model          = stage.grown
  path           = "out/small"
  max_shard_size = "2 GB"
}
