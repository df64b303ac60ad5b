# A run in stages: the first trains a model of some layers at full rank; each later one may add layers, freezes what it
# inherits and puts adapters on it.

# Blocks of the caller.

variable "data" {}
variable "tokenizer" {}
variable "model" {}
variable "optimizer" {}
variable "adapter" {}

# What the stages differ in.

variable "layers" {
  description = "of the first stage, and how many each later one adds"
}

variable "flops" {
  description = "the horizon of each stage's schedule"
}

variable "executed" {
  type        = bool
  description = "whether flops are those of the compiled steps; if not, six for each parameter and token"
}

variable "leave_at" {
  type        = number
  description = "share of its schedule after which a stage but the last is left"
}

variable "warmup_ratio" {
  type        = number
  description = "of the schedules of later stages"
}

# What they share.

variable "precision" { type = string }
variable "seed" { type = number }
variable "sequence_length" { type = number }
variable "batch_size" { type = number }
variable "micro_batch_size" { type = string }
variable "activation_checkpointing" { type = string }
variable "checkpoint_every" { type = number }

locals {
  last = length(var.flops) - 1

  # Parameters of the model in each stage, for six a parameter and token.
  missing    = [for i, f in var.flops : sum(var.layers) - sum(slice(var.layers, 0, i + 1))]
  parameters = [for n in local.missing : params(var.model) - n * var.model.layer_parameters]
  tokens     = [for i, f in var.flops : tokens_for_flops(f, local.parameters[i])]
}

defaults "stage" {
  precision = var.precision
  seed      = var.seed
  train {
    data                     = var.data
    tokenizer                = var.tokenizer
    optimizer                = var.optimizer
    sequence_length          = var.sequence_length
    batch_size               = var.batch_size
    micro_batch_size         = var.micro_batch_size
    activation_checkpointing = var.activation_checkpointing
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = var.checkpoint_every }
  }
}

stage "first" {
  model  = var.model
  layers = var.layers[0]
  train {
    flops   = var.executed ? var.flops[0] : null
    tokens  = var.executed ? null : local.tokens[0]
    stop_at = local.last > 0 ? var.leave_at : 1
  }
}

stage "grown" {
  count   = local.last
  from    = count.index == 0 ? stage.first : stage.grown[count.index - 1]
  freeze  = ["inherited"]
  adapter = var.adapter
  dynamic "grow" {
    for_each = [for n in [var.layers[count.index + 1]] : n if n > 0]
    labels   = ["interpolation"]
    content { layers = grow.value }
  }
  train {
    flops   = var.executed ? var.flops[count.index + 1] : null
    tokens  = var.executed ? null : local.tokens[count.index + 1]
    stop_at = count.index + 1 < local.last ? var.leave_at : 1
    schedule "cosine" { warmup_ratio = var.warmup_ratio }
  }
}

output "stages" {
  value       = concat([stage.first], stage.grown)
  description = "in their order"
}

output "model" {
  value       = concat([stage.first], stage.grown)[local.last]
  description = "the last stage"
}
