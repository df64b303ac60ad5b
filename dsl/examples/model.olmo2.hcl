model "olmo2" "one" {
  vocab_size          = 100352
  hidden_size         = 2048
  intermediate_size   = 8192
  num_hidden_layers   = 16
  num_attention_heads = 16
  rope_theta          = 500000
}
