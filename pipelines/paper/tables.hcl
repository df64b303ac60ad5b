# The sizes and the methods that there are. Another size or method is another row: here, or in a file of variables.

variable "sizes" {
  type = map(object({
    hidden_size          = number
    intermediate_size    = number
    num_attention_heads  = number
    vocab_size           = number
    rank                 = number # of the adapters
    learning_rate        = number
    batch_size           = number # sequences of a step
    sequence_length      = number
    reset_every          = number # steps between merges of ReLoRA
    restart_warmup_steps = number
    precision            = string
  }))
  default = {
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
  description = "what each size is, and how it trains; all have 24 layers"
}

variable "methods" {
  type = map(object({ stages = number, restarts = optional(bool, false) }))
  default = {
    vanilla = { stages = 1 }
    step-2  = { stages = 2 }
    step-3  = { stages = 3 }
    relora  = { stages = 1, restarts = true }
  }
  description = "in how many stages the model grows, and whether it goes on behind adapters that restart when it is full"
}
