model "qwen2" "half" {
  vocab_size          = 151936
  hidden_size         = 896
  intermediate_size   = 4864
  num_hidden_layers   = 24
  num_attention_heads = 14
  num_key_value_heads = 2
  rope_theta          = 1000000
  tie_word_embeddings = true
}
