# The quickstart's model trained three ways with equal FLOPs, and more than one seed: in three STEP stages, all its
# layers at once, and, as a control, a model of half the layers. Each way has the learning rate that suits it.
# make quickstart-compare runs this on the quickstart's data.

variable "seeds" {
  type        = list(number)
  default     = [1, 2]
  description = "each is a seed of the first weights and of the order of the documents"
  validation {
    condition     = length(var.seeds) > 0 && length(var.seeds) == length(distinct(var.seeds))
    error_message = "seeds needs at least one seed, and each once"
  }
}

variable "source" {
  type        = string
  default     = "../quickstart/data/*.parquet"
  description = "FineWeb-Edu's columns, in parquet"
}

variable "tokens" {
  type        = number
  default     = 1e6
  description = "training tokens over the three stages"
  validation {
    condition     = var.tokens >= 3e4
    error_message = "each stage needs at least one batch of 1024 tokens"
  }
}

variable "precision" {
  type        = string
  default     = "fp32"
  description = "fp32, or bf16: half the bytes of a frozen weight, and faster where the processor multiplies bf16"
}

variable "learning_rates" {
  type        = object({ step = number, vanilla = number, small = number })
  default     = { step = 2e-3, vanilla = 2e-3, small = 2e-3 }
  description = "for each way the best of 1e-3, 2e-3 and 4e-3, by the validation loss of a third seed"
  validation {
    condition     = min(values(var.learning_rates)...) > 0
    error_message = "each of learning_rates must be more than 0"
  }
}

locals {
  seeds        = { for s in var.seeds : tostring(s) => s }
  horizon      = var.tokens * 0.4 # of each of the three stages, of which the first two are left early
  leave_at     = 0.75
  min_lr_ratio = 0.1
  steps        = { for k in keys(local.seeds) : k => [stage.seed[k], stage.middle[k], stage.final[k]] }
  flops        = { for k, stages in local.steps : k => sum(stages[*].flops) }
}

data "fineweb_edu" "docs" {
  for_each            = local.seeds
  source              = var.source
  min_int_score       = 3
  deduplicate         = true
  validation_fraction = 0.08 # by a hash of the id: the same documents for every seed
  seed                = each.value
}

tokenizer "bpe" "docs" {
  train_on   = data.fineweb_edu.docs[keys(local.seeds)[0]]
  vocab_size = 2048
}

model "llama" "target" {
  for_each                = local.seeds
  vocab_size              = tokenizer.bpe.docs.vocab_size
  hidden_size             = 128
  intermediate_size       = 344
  num_hidden_layers       = 6
  num_attention_heads     = 4
  num_key_value_heads     = 2
  max_position_embeddings = 256
  rope_theta              = 10000
  rms_norm_eps            = 1e-5
  tie_word_embeddings     = true
  seed                    = each.value
}

peft "lora" "adapter" {
  r              = 8
  lora_alpha     = 16
  target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
}

optimizer "adamw" "main" {
  for_each      = var.learning_rates
  learning_rate = each.value
  betas         = [0.9, 0.95]
  weight_decay  = 0.1
  max_grad_norm = 1.0
}

memory_plan "three" {
  model     = model.llama.target[keys(local.seeds)[0]]
  peft      = peft.lora.adapter
  stages    = 3
  precision = var.precision
}

# What all stages share, of whatever way. each.key is the seed.
defaults "stage" {
  precision = var.precision
  train {
    data             = data.fineweb_edu.docs[each.key]
    tokenizer        = tokenizer.bpe.docs
    sequence_length  = 128
    batch_size       = 8
    micro_batch_size = 4
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.02
    }
    checkpoint { every_steps = 200 }
  }
}

stage "seed" {
  for_each = local.seeds
  model    = model.llama.target[each.key]
  layers   = memory_plan.three.layers[0]
  train {
    optimizer = optimizer.adamw.main["step"]
    tokens    = local.horizon
    stop_at   = local.leave_at
    schedule "cosine" { min_lr_ratio = local.min_lr_ratio }
  }
}

stage "middle" {
  for_each = local.seeds
  from     = stage.seed[each.key]
  grow "interpolation" { layers = memory_plan.three.layers[1] }
  freeze  = ["inherited"]
  adapter = peft.lora.adapter
  train {
    optimizer = optimizer.adamw.main["step"]
    tokens    = local.horizon
    stop_at   = local.leave_at
    schedule "cosine" { min_lr_ratio = local.min_lr_ratio }
  }
}

stage "final" {
  for_each = local.seeds
  from     = stage.middle[each.key]
  grow "interpolation" { layers = memory_plan.three.layers[2] }
  freeze  = ["inherited"]
  adapter = peft.lora.adapter
  train {
    optimizer = optimizer.adamw.main["step"]
    tokens    = local.horizon
  }
}

stage "vanilla" {
  for_each = local.seeds
  model    = model.llama.target[each.key]
  train {
    optimizer = optimizer.adamw.main["vanilla"]
    flops     = local.flops[each.key]
  }
}

stage "small" {
  for_each = local.seeds
  model    = model.llama.target[each.key]
  layers   = 3
  train {
    optimizer = optimizer.adamw.main["small"]
    flops     = local.flops[each.key]
  }
}

evaluate "perplexity" "step" {
  for_each = local.seeds
  model    = stage.final[each.key]
  data     = data.fineweb_edu.docs[each.key].validation
}

evaluate "perplexity" "vanilla" {
  for_each = local.seeds
  model    = stage.vanilla[each.key]
  data     = data.fineweb_edu.docs[each.key].validation
}

evaluate "perplexity" "small" {
  for_each = local.seeds
  model    = stage.small[each.key]
  data     = data.fineweb_edu.docs[each.key].validation
}

locals {
  losses = {
    step    = [for e in evaluate.perplexity.step : e.loss]
    vanilla = [for e in evaluate.perplexity.vanilla : e.loss]
    small   = [for e in evaluate.perplexity.small : e.loss]
  }
}

output "validation_loss" {
  value       = { for way, losses in local.losses : way => sum(losses) / length(losses) }
  description = "nats a token on held-out packages, mean of the seeds"
}

output "spread" {
  value       = { for way, losses in local.losses : way => max(losses...) - min(losses...) }
  description = "largest less smallest loss of the seeds: a smaller difference of two ways says nothing"
}

output "peak_bytes" {
  value = {
    step    = max(flatten([for stages in local.steps : stages[*].peak_bytes])...)
    vanilla = max([for s in stage.vanilla : s.peak_bytes]...)
    small   = max([for s in stage.small : s.peak_bytes]...)
  }
  description = "device memory, the largest stage"
}

output "tokens" {
  value = {
    step    = max([for stages in local.steps : sum(stages[*].tokens)]...)
    vanilla = max([for s in stage.vanilla : s.tokens]...)
    small   = max([for s in stage.small : s.tokens]...)
  }
  description = "tokens that the same FLOPs were enough for"
}
