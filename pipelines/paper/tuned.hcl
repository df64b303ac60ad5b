# After pre-training, the same for every method: instruction tuning of the whole model or of adapters on it, and downstream
# tasks before and after it. Both need data other than FineWeb's, so both are left out unless their variables are given.

variable "instructions" {
  type        = string
  default     = null
  description = "conversations to tune on, such as hf://datasets/HuggingFaceTB/smoltalk/data/all/train-*.parquet; none if not given"
}

variable "tuning_tokens" {
  type        = number
  default     = 1e8
  description = "tokens to tune on"
  validation {
    condition     = var.tuning_tokens > 0
    error_message = "tuning_tokens must be more than 0; without instructions nothing is tuned"
  }
}

variable "tuning_rank" {
  type        = number
  default     = null
  description = "rank of the adapters to tune, which takes far less memory than the pre-training; the whole model if not given"
}

variable "tuning_learning_rate" {
  type        = number
  default     = null
  description = "2e-5 if not given, and 2e-4 with adapters"
}

variable "tasks" {
  type        = list(string)
  default     = []
  description = "tasks of lm-evaluation-harness, such as hellaswag, piqa, arc_easy, arc_challenge, winogrande and openbookqa"
}

variable "task_files" {
  type        = map(string)
  default     = null
  description = "files of the tasks, by their names, if not those on the hub"
}

variable "num_fewshot" {
  type    = number
  default = null
}

locals {
  tuned    = var.instructions == null ? 0 : 1
  measured = length(var.tasks) > 0 ? 1 : 0
}

data "conversations" "instructions" {
  count  = local.tuned
  source = var.instructions
  seed   = var.seed
}

optimizer "adamw" "tuning" {
  learning_rate = coalesce(var.tuning_learning_rate, var.tuning_rank == null ? 2e-5 : 2e-4)
  weight_decay  = 0
}

peft "lora" "tuning" {
  count          = var.tuning_rank == null ? 0 : 1
  r              = var.tuning_rank
  lora_alpha     = 2 * var.tuning_rank
  target_modules = ["all-linear"]
}

stage "tuned" {
  count     = local.tuned
  from      = module.run.model
  freeze    = var.tuning_rank == null ? [] : ["*"]
  adapter   = var.tuning_rank == null ? null : peft.lora.tuning[0]
  precision = coalesce(var.precision, local.size.precision)
  train {
    objective                = "sft"
    data                     = data.conversations.instructions[0]
    tokenizer                = tokenizer.bpe.corpus
    optimizer                = optimizer.adamw.tuning
    sequence_length          = local.sequence_length
    batch_size               = local.batch_size
    micro_batch_size         = local.micro
    activation_checkpointing = var.activation_checkpointing
    tokens                   = var.tuning_tokens
    schedule "cosine" { warmup_ratio = 0.03 }
  }
}

evaluate "tasks" "pretrained" {
  count       = local.measured
  model       = module.run.model
  tasks       = var.tasks
  data_files  = var.task_files
  num_fewshot = var.num_fewshot
}

evaluate "tasks" "tuned" {
  count       = local.measured * local.tuned
  model       = stage.tuned[0]
  tasks       = var.tasks
  data_files  = var.task_files
  num_fewshot = var.num_fewshot
}

output "tasks" {
  value       = { pretrained = one(evaluate.tasks.pretrained[*].results), tuned = one(evaluate.tasks.tuned[*].results) }
  description = "metrics with their standard errors, by task"
}
