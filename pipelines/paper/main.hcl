# The runs of "STEP: Staged Parameter-Efficient Pre-training" (arXiv 2504.04151) as one pipeline, with equal FLOPs:
#
#   stepflow plan -var size=680M -var method=step-2 pipelines/paper
#
# size and method name a row of tables.hcl; variables.hcl has what else can be set. Learning rates, batches and tokens are
# this project's choice where the paper's tables give none that we know.

variable "size" {
  type    = string
  default = "680M"
  validation {
    condition     = contains(keys(var.sizes), var.size)
    error_message = "there is no such size: size is ${join(", ", keys(var.sizes))}"
  }
}

variable "method" {
  type    = string
  default = "step-2"
  validation {
    condition     = contains(keys(var.methods), var.method)
    error_message = "there is no such method: method is ${join(", ", keys(var.methods))}"
  }
}

locals {
  size            = var.sizes[var.size]
  method          = var.methods[var.method]
  num_layers      = coalesce(var.num_hidden_layers, 24)
  sequence_length = coalesce(var.sequence_length, local.size.sequence_length)
  batch_size      = coalesce(var.batch_size, local.size.batch_size)
  micro           = coalesce(var.micro_batch_size, tostring(max([for n in range(1, 9) : n if local.batch_size % n == 0]...)))

  # Every method gets the same budget, and every stage of STEP the same share of it. A stage but the last is left after
  # leave_at of its schedule, so K stages run K - (K-1)(1-leave_at) schedules in all. ReLoRA trains at full rank first.
  budget  = coalesce(var.flops, 6 * params(model.llama.target) * var.tokens_per_parameter * params(model.llama.target))
  horizon = local.budget / (local.method.stages - (1 - var.leave_at) * (local.method.stages - 1))
  warm    = var.relora_warm_start * local.budget
  flops   = local.method.restarts ? [local.warm, local.budget - local.warm] : [for i in range(local.method.stages) : local.horizon]
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

  # For the tuning of tuned.hcl.
  special_tokens = ["<|im_start|>", "<|im_end|>"]
  chat_template  = "chatml"
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
  stages      = local.method.stages
  layers_only = true
}

module "run" {
  source = "./staged"

  data      = data.fineweb_edu.corpus
  tokenizer = tokenizer.bpe.corpus
  model     = model.llama.target
  optimizer = optimizer.adamw.main
  adapter   = peft.relora.adapter

  layers       = local.method.restarts ? [local.num_layers, 0] : memory_plan.layers.layers
  flops        = local.flops
  executed     = var.accounting == "executed"
  leave_at     = local.method.restarts ? 1 : var.leave_at
  warmup_ratio = local.method.restarts ? 0.02 : 0.05

  precision                = coalesce(var.precision, local.size.precision)
  seed                     = var.seed
  sequence_length          = local.sequence_length
  batch_size               = local.batch_size
  micro_batch_size         = local.micro
  activation_checkpointing = var.activation_checkpointing
  checkpoint_every         = coalesce(var.checkpoint_every, 200)
}

evaluate "perplexity" "validation" {
  model      = module.run.model
  data       = data.fineweb_edu.corpus.validation
  max_tokens = var.evaluation_tokens
}

output "perplexity" { value = evaluate.perplexity.validation.perplexity }

output "loss" {
  value       = evaluate.perplexity.validation.loss
  description = "nats a token on held-out documents"
}

output "flops" {
  value = {
    budget   = local.budget
    executed = sum([for s in module.run.stages : s.flops])
    "6ND"    = sum([for s in module.run.stages : 6 * s.num_parameters * s.tokens])
  }
  description = "the training by both accountings"
}

output "tokens" { value = sum([for s in module.run.stages : s.tokens]) }

output "peak_bytes" {
  value       = max([for s in concat(module.run.stages, stage.tuned) : s.peak_bytes]...)
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
