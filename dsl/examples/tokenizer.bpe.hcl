tokenizer "bpe" "english" {
  train_on   = data.fineweb_edu.corpus
  vocab_size = 32768
  max_bytes  = "1 GiB"
  # to be tuned on conversations later
  special_tokens = ["<|im_start|>", "<|im_end|>"]
  chat_template  = "chatml"
}
# tokenizer.bpe.english.vocab_size → 32768
