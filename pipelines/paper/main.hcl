# The runs of "STEP: Staged Parameter-Efficient Pre-training" (arXiv 2504.04151) as one pipeline, with equal FLOPs:
#
#   stepflow plan -var size=680M -var method=step-2 pipelines/paper
#
# size is 368M, 680M or 1.2B (24 layers of 1024/2736, 1536/4096 and 2048/5461), or 1M for a machine without a card; method is
# vanilla, step-2, step-3 or relora. Learning rates, batches and tokens are this project's choice where the paper's tables
# give none that we know.

variable "size" {
  type        = string
  default     = "680M"
  description = "1M, 368M, 680M or 1.2B"
  validation {
    condition     = contains(["1M", "368M", "680M", "1.2B"], var.size)
    error_message = "there is no such size: size is 1M, 368M, 680M or 1.2B"
  }
}

variable "method" {
  type        = string
  default     = "step-2"
  description = "vanilla, step-2, step-3 or relora"
  validation {
    condition     = contains(["vanilla", "step-2", "step-3", "relora"], var.method)
    error_message = "there is no such method: method is vanilla, step-2, step-3 or relora"
  }
}

# What all methods get alike.

variable "tokens_per_parameter" {
  type        = number
  default     = 20
  description = "sets the budget, 6 N D FLOPs: D is so many tokens for each of the N parameters of the full model"
  validation {
    condition     = var.tokens_per_parameter > 0
    error_message = "tokens_per_parameter must be more than 0: it sets the budget"
  }
}

variable "flops" {
  type        = number
  default     = null
  description = "the budget itself, if not that of tokens_per_parameter"
  validation {
    condition     = coalesce(var.flops, 1) > 0
    error_message = "flops must be more than 0: it is the budget"
  }
}

variable "accounting" {
  type        = string
  default     = "executed"
  description = "which FLOPs are equal: executed, those of the compiled steps, or 6ND, six for each parameter and token, as if frozen layers were trained"
  validation {
    condition     = contains(["executed", "6ND"], var.accounting)
    error_message = "there is no such accounting: accounting is executed or 6ND"
  }
}

variable "source" {
  type        = string
  default     = "hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet"
  description = "FineWeb-Edu's columns, in parquet"
}

variable "validation_fraction" {
  type    = number
  default = 0.001
  validation {
    condition     = var.validation_fraction > 0 && var.validation_fraction < 1
    error_message = "validation_fraction must be more than 0, for the loss is measured on the documents held out, and less than 1, for the others are trained on"
  }
}

variable "evaluation_tokens" {
  type    = number
  default = 1e6
}

variable "tokenizer_bytes" {
  type        = string
  default     = "1 GiB"
  description = "text of which the tokenizer is made"
}

variable "seed" {
  type        = number
  default     = 7
  description = "of the first weights, the adapters and the order of the documents"
}

# What size gives, unless it is given.

variable "hidden_size" {
  type    = number
  default = null
}

variable "intermediate_size" {
  type    = number
  default = null
}

variable "num_hidden_layers" {
  type    = number
  default = null
}

variable "num_attention_heads" {
  type    = number
  default = null
}

variable "vocab_size" {
  type    = number
  default = null
}

variable "rank" {
  type        = number
  default     = null
  description = "of the adapters"
}

variable "learning_rate" {
  type    = number
  default = null
}

variable "batch_size" {
  type        = number
  default     = null
  description = "sequences of a step"
  validation {
    condition     = coalesce(var.batch_size, 1) >= 1 && floor(coalesce(var.batch_size, 1)) == coalesce(var.batch_size, 1)
    error_message = "batch_size is a whole number of sequences, at least 1"
  }
}

variable "sequence_length" {
  type        = number
  default     = null
  description = "tokens of a sequence"
}

variable "reset_every" {
  type        = number
  default     = null
  description = "steps between merges of ReLoRA"
}

variable "restart_warmup_steps" {
  type    = number
  default = null
}

variable "checkpoint_every" {
  type        = number
  default     = null
  description = "steps"
}

variable "precision" {
  type        = string
  default     = null
  description = "fp32 or bf16"
}

variable "micro_batch_size" {
  type        = string
  default     = null
  description = "sequences on the device at a time, or auto; 8 if not given, or the most below that which divides batch_size"
}

variable "activation_checkpointing" {
  type        = string
  default     = "none"
  description = "none, block or auto"
}

# What the methods differ in.

variable "leave_at" {
  type        = number
  default     = 0.75
  description = "share of its schedule after which a stage of STEP but the last is left"
  validation {
    condition     = var.leave_at > 0 && var.leave_at <= 1
    error_message = "leave_at must be more than 0, for a stage that is left at once trains nothing, and at most 1, the whole schedule"
  }
}

variable "relora_warm_start" {
  type        = number
  default     = 0.25
  description = "share of the budget that ReLoRA trains at full rank first"
  validation {
    condition     = var.relora_warm_start > 0 && var.relora_warm_start < 1
    error_message = "relora_warm_start must be more than 0, for ReLoRA starts from weights that were trained at full rank, and less than 1, which would leave nothing for ReLoRA: that is method=vanilla"
  }
}

locals {
  sizes = {
    "1M" = {
      hidden_size = 64, intermediate_size = 172, num_attention_heads = 4, vocab_size = 1024, rank = 6, learning_rate = 3e-3
      batch_size  = 8, sequence_length = 128, reset_every = 100, restart_warmup_steps = 10, precision = "fp32"
    }
    "368M" = {
      hidden_size = 1024, intermediate_size = 2736, num_attention_heads = 16, vocab_size = 32000, rank = 100, learning_rate = 5e-4
      batch_size  = 256, sequence_length = 1024, reset_every = 1000, restart_warmup_steps = 50, precision = "bf16"
    }
    "680M" = {
      hidden_size = 1536, intermediate_size = 4096, num_attention_heads = 16, vocab_size = 32000, rank = 150, learning_rate = 4e-4
      batch_size  = 256, sequence_length = 1024, reset_every = 1000, restart_warmup_steps = 50, precision = "bf16"
    }
    "1.2B" = {
      hidden_size = 2048, intermediate_size = 5461, num_attention_heads = 16, vocab_size = 32000, rank = 200, learning_rate = 3e-4
      batch_size  = 256, sequence_length = 1024, reset_every = 1000, restart_warmup_steps = 50, precision = "bf16"
    }
  }
  size            = local.sizes[var.size]
  num_layers      = coalesce(var.num_hidden_layers, 24)
  sequence_length = coalesce(var.sequence_length, local.size.sequence_length)
  batch_size      = coalesce(var.batch_size, local.size.batch_size)
  micro           = coalesce(var.micro_batch_size, tostring(max([for n in range(1, 9) : n if local.batch_size % n == 0]...)))
  precision       = coalesce(var.precision, local.size.precision)
  checkpoint      = coalesce(var.checkpoint_every, 200)

  staged = contains(["step-2", "step-3"], var.method)
  stages = var.method == "step-3" ? 3 : var.method == "step-2" ? 2 : 1

  # Every method gets the same budget, and every stage of STEP the same share of it. A stage but the last is left after
  # leave_at of its schedule, so K stages run K - (K-1)(1-leave_at) schedules in all.
  budget  = coalesce(var.flops, 6 * params(model.llama.target) * var.tokens_per_parameter * params(model.llama.target))
  horizon = local.budget / (local.stages - (1 - var.leave_at) * (local.stages - 1))
  first   = var.method == "relora" ? var.relora_warm_start * local.budget : local.horizon

  # Parameters of the model in each stage, for 6ND.
  split      = memory_plan.layers.layers
  missing    = [for i in range(local.stages) : local.num_layers - sum(slice(local.split, 0, i + 1))]
  parameters = [for m in local.missing : params(model.llama.target) - m * model.llama.target.layer_parameters]
  executed   = var.accounting == "executed"
}

data "fineweb_edu" "corpus" {
  source              = var.source
  validation_fraction = var.validation_fraction
  seed                = var.seed
}

tokenizer "bpe" "corpus" {
  train_on   = data.fineweb_edu.corpus
  vocab_size = coalesce(var.vocab_size, local.size.vocab_size)
  max_bytes  = var.tokenizer_bytes
}

model "llama" "target" {
  vocab_size              = tokenizer.bpe.corpus.vocab_size
  hidden_size             = coalesce(var.hidden_size, local.size.hidden_size)
  intermediate_size       = coalesce(var.intermediate_size, local.size.intermediate_size)
  num_hidden_layers       = local.num_layers
  num_attention_heads     = coalesce(var.num_attention_heads, local.size.num_attention_heads)
  max_position_embeddings = local.sequence_length
  rope_theta              = 10000
  rms_norm_eps            = 1e-5
  seed                    = var.seed
}

# The published gigabytes all come out for ranks of about 100, 150 and 200.
peft "relora" "adapter" {
  r                    = coalesce(var.rank, local.size.rank)
  lora_alpha           = coalesce(var.rank, local.size.rank)
  target_modules       = ["all-linear"]
  reset_every          = coalesce(var.reset_every, local.size.reset_every)
  restart_warmup_steps = coalesce(var.restart_warmup_steps, local.size.restart_warmup_steps)
}

optimizer "adamw" "main" {
  learning_rate = coalesce(var.learning_rate, local.size.learning_rate)
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
  layers    = local.staged ? local.split[0] : local.num_layers
  precision = local.precision
  seed      = var.seed
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = local.sequence_length
    batch_size               = local.batch_size
    micro_batch_size         = local.micro
    activation_checkpointing = var.activation_checkpointing
    flops                    = local.executed ? local.first : null
    tokens                   = local.executed ? null : tokens_for_flops(local.first, local.parameters[0])
    stop_at                  = local.staged ? var.leave_at : 1
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = local.checkpoint }
  }
}

stage "second" {
  count     = local.staged ? 1 : 0
  from      = stage.first
  precision = local.precision
  seed      = var.seed
  grow "interpolation" {
    layers   = local.split[1]
    position = "upper"
  }
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = local.sequence_length
    batch_size               = local.batch_size
    micro_batch_size         = local.micro
    activation_checkpointing = var.activation_checkpointing
    flops                    = local.executed ? local.horizon : null
    tokens                   = local.executed ? null : tokens_for_flops(local.horizon, local.parameters[1])
    stop_at                  = local.stages == 3 ? var.leave_at : 1
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = local.checkpoint }
  }
}

stage "third" {
  count     = local.stages == 3 ? 1 : 0
  from      = stage.second[0]
  precision = local.precision
  seed      = var.seed
  grow "interpolation" {
    layers   = local.split[2]
    position = "upper"
  }
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = local.sequence_length
    batch_size               = local.batch_size
    micro_batch_size         = local.micro
    activation_checkpointing = var.activation_checkpointing
    flops                    = local.executed ? local.horizon : null
    tokens                   = local.executed ? null : tokens_for_flops(local.horizon, local.parameters[2])
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = local.checkpoint }
  }
}

# ReLoRA: a full-rank warm start above, then all projections behind adapters.
stage "relora" {
  count     = var.method == "relora" ? 1 : 0
  from      = stage.first
  precision = local.precision
  seed      = var.seed
  freeze    = ["inherited"]
  adapter   = peft.relora.adapter
  train {
    data                     = data.fineweb_edu.corpus
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.main
    sequence_length          = local.sequence_length
    batch_size               = local.batch_size
    micro_batch_size         = local.micro
    activation_checkpointing = var.activation_checkpointing
    flops                    = local.executed ? (local.budget - local.first) : null
    tokens                   = local.executed ? null : tokens_for_flops((local.budget - local.first), local.parameters[0])
    schedule "cosine" {
      warmup_ratio = 0.02
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = local.checkpoint }
  }
}

evaluate "perplexity" "validation" {
  model      = var.method == "relora" ? stage.relora[0] : local.stages == 3 ? stage.third[0] : local.stages == 2 ? stage.second[0] : stage.first
  data       = data.fineweb_edu.corpus.validation
  max_tokens = var.evaluation_tokens
}

locals {
  trained = concat([stage.first], stage.second, stage.third, stage.relora)
}

output "perplexity" { value = evaluate.perplexity.validation.perplexity }

output "loss" {
  value       = evaluate.perplexity.validation.loss
  description = "nats a token on held-out documents"
}

output "flops" {
  value = {
    budget   = local.budget
    executed = sum([for s in local.trained : s.flops])
    "6ND"    = sum([for s in local.trained : 6 * s.num_parameters * s.tokens])
  }
  description = "the training by both accountings"
}

output "tokens" { value = sum([for s in local.trained : s.tokens]) }

output "peak_bytes" {
  value       = max([for s in local.trained : s.peak_bytes]...)
  description = "device memory of the largest stage"
}

output "layer_states" {
  value       = memory_plan.layers.layers_peak_bytes
  description = "bytes of model states of the layers in the largest stage: the paper's figure"
}

output "layer_states_saving" {
  value       = memory_plan.layers.layers_saving
  description = "against training all layers at once"
}
