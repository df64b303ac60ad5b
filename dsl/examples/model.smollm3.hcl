model "smollm3" "three" {
  vocab_size             = 128256
  hidden_size            = 2048
  intermediate_size      = 11008
  num_hidden_layers      = 36
  num_attention_heads    = 16
  num_key_value_heads    = 4
  no_rope_layer_interval = 4 # every fourth layer rotates nothing
}
