export "gguf" "small" {
  model        = stage.grown
  path         = "out/gguf"
  quantization = "q8_0"
}
