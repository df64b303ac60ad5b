# One stage of a few steps of eight micro-batches, on one process or on several ranks: what compare.py times.

variable "shard" {
  type    = string
  default = "none"
}

data "fineweb_edu" "docs" {
  source = "../step/data/*.parquet"
}

tokenizer "bpe" "docs" {
  train_on   = data.fineweb_edu.docs
  vocab_size = 2048
}

model "llama" "m" {
  vocab_size              = tokenizer.bpe.docs.vocab_size
  hidden_size             = 512
  intermediate_size       = 1376
  num_hidden_layers       = 12
  num_attention_heads     = 8
  max_position_embeddings = 256
}

optimizer "adamw" "main" {
  learning_rate = 1e-3
}

stage "one" {
  model     = model.llama.m
  precision = "bf16"
  train {
    data             = data.fineweb_edu.docs
    optimizer        = optimizer.adamw.main
    tokenizer        = tokenizer.bpe.docs
    tokens           = 24576
    batch_size       = 16
    micro_batch_size = 2
    sequence_length  = 256
    parallel {
      shard = var.shard
    }
  }
}
