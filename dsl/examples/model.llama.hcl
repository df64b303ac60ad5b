model "llama" "small" {
  vocab_size              = tokenizer.bpe.english.vocab_size
  hidden_size             = 576
  intermediate_size       = 1536
  num_hidden_layers       = 30
  num_attention_heads     = 9
  num_key_value_heads     = 3
  max_position_embeddings = 2048
  tie_word_embeddings     = true
}
# model.llama.small.num_parameters → 125077824
