stage "seed" {
  model     = model.llama.small
  precision = "bf16"
  train {
    data             = data.fineweb_edu.corpus
    tokenizer        = tokenizer.bpe.english
    optimizer        = optimizer.adamw.main
    sequence_length  = 1024
    batch_size       = 256
    micro_batch_size = 8 # 32 of them: up to 32 ranks
    accumulate_dtype = "fp32"
    tokens           = 1e9
    parallel {
      shard = "optimizer"
    }
  }
}
