tokenizer "huggingface" "smollm" {
  file      = "smollm2/tokenizer.json"
  eos_token = "<|endoftext|>"
}
