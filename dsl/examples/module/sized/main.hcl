variable "corpus" {}
variable "tokenizer" {}
variable "layers" { type = number }
model "llama" "m" {
  vocab_size          = var.tokenizer.vocab_size
  hidden_size         = 576
  intermediate_size   = 1536
  num_hidden_layers   = var.layers
  num_attention_heads = 9
}
