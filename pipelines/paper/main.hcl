# The runs of "STEP: Staged Parameter-Efficient Pre-training" (arXiv 2504.04151) as one pipeline:
#
#   stepflow plan -var size=680M -var method=step-2 pipelines/paper
#
# size is 368M, 680M or 1.2B; method is vanilla, step-2, step-3 or relora. The layer shapes are
# 1024/2736, 1536/4096 and 2048/5461 with 24 layers. Learning rates, batch and tokens are this
# project's choice where the paper's tables give none that we know.

variable "size" {
  type        = string
  default     = "680M"
  description = "368M, 680M or 1.2B"
  validation {
    condition     = contains(["368M", "680M", "1.2B"], var.size)
    error_message = "size is 368M, 680M or 1.2B"
  }
}

variable "method" {
  type        = string
  default     = "step-2"
  description = "vanilla, step-2, step-3 or relora"
  validation {
    condition     = contains(["vanilla", "step-2", "step-3", "relora"], var.method)
    error_message = "method is vanilla, step-2, step-3 or relora"
  }
}

variable "source" {
  type        = string
  default     = "hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet"
  description = "FineWeb-Edu parquet"
}

variable "vocab_size" {
  type    = number
  default = 32000
}

variable "tokens_per_parameter" {
  type        = number
  default     = 20
  description = "training tokens a parameter of the full model"
}

variable "micro_batch_size" {
  type    = number
  default = 8
}

variable "activation_checkpointing" {
  type        = string
  default     = "none"
  description = "none, block or auto"
}

locals {
  shapes = {
    "368M" = { hidden = 1024, intermediate = 2736, heads = 16, rank = 100, learning_rate = 5e-4 }
    "680M" = { hidden = 1536, intermediate = 4096, heads = 16, rank = 150, learning_rate = 4e-4 }
    "1.2B" = { hidden = 2048, intermediate = 5461, heads = 16, rank = 200, learning_rate = 3e-4 }
  }
  shape  = local.shapes[var.size]
  staged = contains(["step-2", "step-3"], var.method)
  stages = var.method == "step-3" ? 3 : var.method == "step-2" ? 2 : 1
  tokens = var.tokens_per_parameter * params(model.llama.target)
  batch  = 256
  # Each stage but the last is left after 75 % of its schedule, so K stages run K - (K-1)/4 schedules in all.
  horizon = local.tokens / (local.stages - 0.25 * (local.stages - 1))
}

data "fineweb_edu" "corpus" {
  source              = var.source
  validation_fraction = 0.001
  seed                = 7
}

tokenizer "bpe" "corpus" {
  train_on   = data.fineweb_edu.corpus
  vocab_size = var.vocab_size
  max_bytes  = "1 GiB"
}

model "llama" "target" {
  vocab_size              = tokenizer.bpe.corpus.vocab_size
  hidden_size             = local.shape.hidden
  intermediate_size       = local.shape.intermediate
  num_hidden_layers       = 24
  num_attention_heads     = local.shape.heads
  max_position_embeddings = 1024
  rope_theta              = 10000
  rms_norm_eps            = 1e-5
}

# The published gigabytes all come out for ranks of about 100, 150 and 200.
peft "relora" "adapter" {
  r                    = local.shape.rank
  lora_alpha           = local.shape.rank
  target_modules       = ["all-linear"]
  reset_every          = 1000
  restart_warmup_steps = 50
}

optimizer "adamw" "main" {
  learning_rate = local.shape.learning_rate
  betas         = [0.9, 0.95]
  weight_decay  = 0.1
}

# The split that the stages below train: the paper's objective, layers alone.
memory_plan "layers" {
  model       = model.llama.target
  peft        = peft.relora.adapter
  stages      = local.stages
  layers_only = true
}

stage "first" {
  model     = model.llama.target
  layers    = local.staged ? memory_plan.layers.layers[0] : 24
  precision = "bf16"
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = 1024
    batch_size               = local.batch
    micro_batch_size         = var.micro_batch_size
    activation_checkpointing = var.activation_checkpointing
    tokens                   = var.method == "relora" ? local.horizon * 0.25 : local.horizon
    stop_at                  = local.staged ? 0.75 : 1
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 200 }
  }
}

stage "second" {
  count     = local.staged ? 1 : 0
  from      = stage.first
  precision = "bf16"
  grow "interpolation" {
    layers   = memory_plan.layers.layers[1]
    position = "upper"
  }
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = 1024
    batch_size               = local.batch
    micro_batch_size         = var.micro_batch_size
    activation_checkpointing = var.activation_checkpointing
    tokens                   = local.horizon
    stop_at                  = local.stages == 3 ? 0.75 : 1
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 200 }
  }
}

stage "third" {
  count     = local.stages == 3 ? 1 : 0
  from      = stage.second[0]
  precision = "bf16"
  grow "interpolation" {
    layers   = memory_plan.layers.layers[2]
    position = "upper"
  }
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = 1024
    batch_size               = local.batch
    micro_batch_size         = var.micro_batch_size
    activation_checkpointing = var.activation_checkpointing
    tokens                   = local.horizon
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 200 }
  }
}

# ReLoRA: a full-rank warm start above, then all projections behind adapters.
stage "relora" {
  count     = var.method == "relora" ? 1 : 0
  from      = stage.first
  precision = "bf16"
  freeze    = ["inherited"]
  adapter   = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = 1024
    batch_size               = local.batch
    micro_batch_size         = var.micro_batch_size
    activation_checkpointing = var.activation_checkpointing
    tokens                   = local.horizon * 0.75
    schedule "cosine" {
      warmup_ratio = 0.02
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 200 }
  }
}

evaluate "perplexity" "validation" {
  model      = var.method == "relora" ? stage.relora[0] : local.stages == 3 ? stage.third[0] : local.stages == 2 ? stage.second[0] : stage.first
  data       = data.fineweb_edu.corpus.validation
  max_tokens = 1e6
}

output "perplexity" { value = evaluate.perplexity.validation.perplexity }

output "layer_states" {
  value       = memory_plan.layers.layers_peak_bytes
  description = "bytes of model states of the layers in the largest stage: the paper's figure"
}

output "layer_states_saving" {
  value       = memory_plan.layers.layers_saving
  description = "against training all layers at once"
}
