tokenizer "bpe" "english" {
  train_on   = data.fineweb_edu.corpus
  vocab_size = 32768
  max_bytes  = "1 GiB"
}
# tokenizer.bpe.english.vocab_size → 32768
