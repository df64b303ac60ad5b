# Every way to train in fewer bytes, on the same tokens: at the size of the quickstart, or a LLaMA of 60M parameters as in the
# papers of GaLore, APOLLO and SCALE.
#
#   stepflow plan -var size=60M pipelines/memory
#   stepflow plan -var 'methods=["adamw", "stacked"]' pipelines/memory
#
# sizes.hcl has the sizes, optimizers.hcl the optimizers as they are published.

variable "size" {
  type    = string
  default = "quickstart"
  validation {
    condition     = contains(keys(var.sizes), var.size)
    error_message = "there is no such size: size is ${join(", ", keys(var.sizes))}"
  }
}

variable "all_methods" {
  type = list(string)
  default = ["adamw", "adamw_rounded", "adamw_8bit", "muon_8bit", "galore", "fira", "apollo", "apollo_mini", "scale", "adafactor",
  "relora", "sltrain", "step", "stacked"]
  description = "the methods there are, of main.hcl and optimizers.hcl"
}

variable "methods" {
  type        = list(string)
  default     = null
  description = "each is trained by itself; stepflow report -compare puts them side by side; default: all_methods"
  validation {
    condition     = length(setsubtract(coalesce(var.methods, []), var.all_methods)) == 0
    error_message = "methods has no ${join(", ", setsubtract(coalesce(var.methods, []), var.all_methods))}; there are ${join(", ", var.all_methods)}"
  }
  validation {
    condition     = var.methods == null || try(length(var.methods), 0) > 0
    error_message = "methods is empty: name at least one of ${join(", ", var.all_methods)}"
  }
}

variable "tokens" {
  type        = number
  default     = null
  description = "training tokens of each method, for all its stages; default: those of the size"
  validation {
    condition     = coalesce(var.tokens, 1e6) >= 3e4
    error_message = "each stage needs at least one batch of 1024 tokens"
  }
}

variable "source" {
  type        = string
  default     = null
  description = "FineWeb-Edu's columns, in parquet; default: those of the size"
}

variable "precision" {
  type        = string
  default     = "bf16"
  description = "bf16, or fp32, in which nothing is rounded and weights take twice as much"
}

locals {
  methods = coalesce(var.methods, var.all_methods)
  size    = var.sizes[var.size]
  tokens  = coalesce(var.tokens, local.size.tokens)
  alone   = toset([for m in keys(local.optimizers) : m if contains(local.methods, m)]) # trained in one stage
  staged  = { for m, x in var.staged : m => x if contains(local.methods, m) }
  warm    = 0.25 # of the tokens of ReLoRA: before, it trains at full rank

  layer_parameters = local.size.num_hidden_layers * (4 * pow(local.size.hidden_size, 2) +
  3 * local.size.hidden_size * local.size.intermediate_size + 2 * local.size.hidden_size)

  # A stage of three but the last is left after 75 % of its schedule.
  horizon  = local.tokens * 0.4
  leave_at = 0.75
}

data "fineweb_edu" "docs" {
  source              = coalesce(var.source, local.size.source)
  validation_fraction = local.size.validation_fraction
  seed                = 7
}

tokenizer "bpe" "docs" {
  train_on   = data.fineweb_edu.docs
  vocab_size = local.size.vocab_size
  max_bytes  = "1 GiB"
}

model "llama" "target" {
  vocab_size              = tokenizer.bpe.docs.vocab_size
  hidden_size             = local.size.hidden_size
  intermediate_size       = local.size.intermediate_size
  num_hidden_layers       = local.size.num_hidden_layers
  num_attention_heads     = local.size.num_attention_heads
  max_position_embeddings = 1024
  rope_theta              = 10000
  rms_norm_eps            = 1e-6
  seed                    = 1
}

peft "lora" "adapter" {
  r              = local.size.rank
  lora_alpha     = local.size.rank
  target_modules = ["all-linear"]
}

# As in the authors' script for 60M parameters, which merges every 1,000 of 10,000 steps.
peft "relora" "adapter" {
  r                    = local.size.rank
  lora_alpha           = 32
  target_modules       = ["all-linear"]
  reset_every          = local.size.reset_every
  restart_warmup_steps = local.size.reset_every / 10
}

# As in the authors' script for 60M parameters, sltrain60m.sh.
peft "sltrain" "weights" {
  r              = local.size.rank
  lora_alpha     = 32
  sparsity       = 0.03
  target_modules = ["all-linear"]
}

# What all stages share: schedule, batch and rounding are those of the papers.
defaults "stage" {
  precision = var.precision
  train {
    data            = data.fineweb_edu.docs
    tokenizer       = tokenizer.bpe.docs
    sequence_length = local.size.sequence_length
    batch_size      = local.size.batch_size
    schedule "cosine" {
      warmup_ratio = 0.1
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 500 }
  }
}

stage "alone" {
  for_each = local.alone
  model    = model.llama.target
  train {
    optimizer        = local.optimizers[each.key]
    micro_batch_size = local.size.micro_batch_size
    tokens           = local.tokens
  }
}

stage "warm" {
  count = contains(local.methods, "relora") ? 1 : 0
  model = model.llama.target
  train {
    optimizer        = optimizer.adamw.main
    micro_batch_size = local.size.micro_batch_size
    tokens           = local.tokens * local.warm
  }
}

stage "relora" {
  count   = length(stage.warm)
  from    = stage.warm[0]
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    optimizer        = optimizer.adamw.main
    micro_batch_size = local.size.micro_batch_size
    tokens           = local.tokens * (1 - local.warm)
  }
}

stage "sltrain" {
  count   = contains(local.methods, "sltrain") ? 1 : 0
  model   = model.llama.target
  adapter = peft.sltrain.weights
  train {
    optimizer        = optimizer.adamw.sltrain
    micro_batch_size = local.size.micro_batch_size
    tokens           = local.tokens
  }
}

# Three stages of STEP: as in the paper, and with all else that saves bytes.
variable "staged" {
  type = map(object({ optimizer = string, frozen_dtype = optional(string), update = string, activation_checkpointing = string }))
  default = {
    step    = { optimizer = "adamw", update = "separate", activation_checkpointing = "none" }
    stacked = { optimizer = "adamw_8bit", frozen_dtype = "nf4", update = "fused", activation_checkpointing = "block" }
  }
}

memory_plan "staged" {
  for_each     = local.staged
  model        = model.llama.target
  peft         = peft.lora.adapter
  optimizer    = local.optimizers[each.value.optimizer]
  precision    = var.precision
  frozen_dtype = each.value.frozen_dtype
  stages       = 3
}

stage "first" {
  for_each = local.staged
  model    = model.llama.target
  layers   = memory_plan.staged[each.key].layers[0]
  train {
    optimizer                = local.optimizers[each.value.optimizer]
    micro_batch_size         = each.value.update == "fused" ? null : local.size.micro_batch_size
    update                   = each.value.update
    activation_checkpointing = each.value.activation_checkpointing
    tokens                   = local.horizon
    stop_at                  = local.leave_at
  }
}

stage "second" {
  for_each     = local.staged
  from         = stage.first[each.key]
  freeze       = ["inherited"]
  frozen_dtype = each.value.frozen_dtype
  adapter      = peft.lora.adapter
  grow "interpolation" { layers = memory_plan.staged[each.key].layers[1] }
  train {
    optimizer                = local.optimizers[each.value.optimizer]
    micro_batch_size         = each.value.update == "fused" ? null : local.size.micro_batch_size
    update                   = each.value.update
    activation_checkpointing = each.value.activation_checkpointing
    tokens                   = local.horizon
    stop_at                  = local.leave_at
  }
}

stage "third" {
  for_each     = local.staged
  from         = stage.second[each.key]
  freeze       = ["inherited"]
  frozen_dtype = each.value.frozen_dtype
  adapter      = peft.lora.adapter
  grow "interpolation" { layers = memory_plan.staged[each.key].layers[2] }
  train {
    optimizer                = local.optimizers[each.value.optimizer]
    micro_batch_size         = each.value.update == "fused" ? null : local.size.micro_batch_size
    update                   = each.value.update
    activation_checkpointing = each.value.activation_checkpointing
    tokens                   = local.horizon
  }
}

locals {
  stages = merge({ for m, s in stage.alone : m => [s] }, { for i, s in stage.relora : "relora" => [stage.warm[i], s] },
    { for s in stage.sltrain : "sltrain" => [s] },
  { for m, s in stage.third : m => [stage.first[m], stage.second[m], s] })
}

evaluate "perplexity" "validation" {
  for_each   = toset(local.methods)
  model      = reverse(local.stages[each.key])[0]
  data       = data.fineweb_edu.docs.validation
  max_tokens = 1e6
}

# Model states of all layers trained at once, with each optimizer.
memory_plan "states" {
  for_each  = local.alone
  model     = model.llama.target
  optimizer = local.optimizers[each.key]
  precision = var.precision
  stages    = 1
}

output "perplexity" {
  value       = { for m, e in evaluate.perplexity.validation : m => e.perplexity }
  description = "on held-out documents"
}

locals {
  layer_bytes = { for m, x in merge(memory_plan.states, memory_plan.staged) :
  m => floor(100 * x.layers_peak_bytes / local.layer_parameters + 0.5) / 100 }
}

output "layer_bytes" {
  value       = local.layer_bytes
  description = "model states of the layers in the largest stage, bytes for each of their parameters"
}

output "peak_bytes" {
  value       = { for m, list in local.stages : m => max(list[*].peak_bytes...) }
  description = "device memory of the largest stage"
}
