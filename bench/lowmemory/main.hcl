# A stage for each way to train with little memory: the steps that bench compares with torchao, bitsandbytes, galore-torch,
# apollo-torch and peft. All is in bf16, and weights are rounded stochastically, without masters.

variable "hidden_size" {
  type    = number
  default = 512
}
variable "intermediate_size" {
  type    = number
  default = 1376
}
variable "layers" {
  type    = number
  default = 8
}
variable "heads" {
  type    = number
  default = 8
}
variable "vocab_size" {
  type    = number
  default = 32000
}
variable "sequence_length" {
  type    = number
  default = 256
}
variable "batch_size" {
  type    = number
  default = 4
}
variable "steps" {
  type    = number
  default = 8
}


data "fineweb_edu" "docs" {
  source        = "../step/data/*.parquet"
  document_mask = false # the peers' step has none
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

defaults "optimizer" {
  learning_rate         = 1e-3
  bf16_stochastic_round = true
  state_dtype           = "bf16"
}

defaults "stage" {
  precision = "bf16"
  train {
    data             = data.fineweb_edu.docs
    tokenizer        = tokenizer.bpe.docs
    sequence_length  = var.sequence_length
    batch_size       = var.batch_size
    micro_batch_size = var.batch_size
    steps            = var.steps
  }
}

optimizer "adamw" "plain" {}
optimizer "adamw" "coded" {
  embeddings  = optimizer.adamw.plain # int8 would leave their moments in fp32
  state_dtype = "int8"
}
optimizer "apollo" "o" { rank = 128 }
optimizer "galore" "plain" { rank = 128 }
optimizer "galore" "coded" {
  rank        = 128
  embeddings  = optimizer.adamw.plain
  state_dtype = "int8"
}

stage "adamw" {
  model = model.llama.m
  train { optimizer = optimizer.adamw.plain }
}

stage "adamw_fused" {
  model = model.llama.m
  train {
    optimizer = optimizer.adamw.plain
    update    = "fused"
  }
}

stage "adamw_8bit" {
  model = model.llama.m
  train { optimizer = optimizer.adamw.coded }
}

stage "adamw_8bit_fused" {
  model = model.llama.m
  train {
    optimizer = optimizer.adamw.coded
    update    = "fused"
  }
}

stage "galore" {
  model = model.llama.m
  train { optimizer = optimizer.galore.plain }
}

stage "galore_8bit" {
  model = model.llama.m
  train { optimizer = optimizer.galore.coded }
}

stage "apollo" {
  model = model.llama.m
  train { optimizer = optimizer.apollo.o }
}

optimizer "scale" "base" {}

# What adapters are put on: a model of three steps.
stage "base" {
  model = model.llama.m
  train {
    optimizer = optimizer.scale.base
    steps     = 3
  }
}

peft "lora" "a" {
  r              = 16
  lora_alpha     = 16
  target_modules = ["all-linear"]
}

stage "lora_nf4" {
  from         = stage.base
  freeze       = ["*"]
  frozen_dtype = "nf4"
  adapter      = peft.lora.a
  train { optimizer = optimizer.adamw.plain }
}
