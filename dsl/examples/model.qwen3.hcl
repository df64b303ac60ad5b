model "qwen3" "small" {
  vocab_size          = 151936
  hidden_size         = 1024
  intermediate_size   = 3072
  num_hidden_layers   = 28
  num_attention_heads = 16
  num_key_value_heads = 8
  head_dim            = 128 # wider than hidden_size / num_attention_heads
  rope_theta          = 1000000
  tie_word_embeddings = true
}
