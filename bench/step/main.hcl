# One stage, a few steps: the training step that bench compares with PyTorch. Sizes are variables.

variable "precision" {
  type    = string
  default = "fp32"
}
variable "hidden_size" {
  type    = number
  default = 256
}
variable "intermediate_size" {
  type    = number
  default = 688
}
variable "layers" {
  type    = number
  default = 8
}
variable "heads" {
  type    = number
  default = 4
}
variable "vocab_size" {
  type    = number
  default = 4096
}
variable "sequence_length" {
  type    = number
  default = 256
}
variable "batch_size" {
  type    = number
  default = 8
}
variable "steps" {
  type    = number
  default = 8
}

variable "activation_checkpointing" {
  type    = string
  default = "none"
}

data "fineweb_edu" "docs" {
  source        = "data/*.parquet"
  document_mask = false # PyTorch's step has none
}

tokenizer "bpe" "docs" {
  train_on   = data.fineweb_edu.docs
  vocab_size = 512
}

model "llama" "m" {
  vocab_size              = var.vocab_size
  hidden_size             = var.hidden_size
  intermediate_size       = var.intermediate_size
  num_hidden_layers       = var.layers
  num_attention_heads     = var.heads
  max_position_embeddings = var.sequence_length
}

optimizer "adamw" "o" {
  learning_rate = 1e-3
  betas         = [0.9, 0.95]
  max_grad_norm = 1.0
}

stage "step" {
  model     = model.llama.m
  precision = var.precision
  train {
    data             = data.fineweb_edu.docs
    tokenizer        = tokenizer.bpe.docs
    optimizer        = optimizer.adamw.o
    sequence_length  = var.sequence_length
    batch_size       = var.batch_size
    micro_batch_size = var.batch_size
    steps            = var.steps

    activation_checkpointing = var.activation_checkpointing
  }
}
