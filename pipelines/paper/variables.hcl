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
