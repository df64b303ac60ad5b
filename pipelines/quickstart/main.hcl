# A LLaMA of 6 layers, trained in three STEP stages on the documentation of the Go standard library, tuned on questions
# about it, and measured on a task. make quickstart makes the data and runs this.

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

data "fineweb_edu" "docs" {
  source              = "data/*.parquet"
  min_int_score       = 3
  deduplicate         = true
  validation_fraction = 0.08
  seed                = 7
}

tokenizer "bpe" "docs" {
  train_on       = data.fineweb_edu.docs
  vocab_size     = 2048
  special_tokens = ["<|im_start|>", "<|im_end|>"]
  chat_template  = "chatml"
}

model "llama" "target" {
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
  seed                    = 1
}

peft "lora" "adapter" {
  r              = 8
  lora_alpha     = 16
  target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
}

optimizer "adamw" "main" {
  learning_rate = 2e-3
  betas         = [0.9, 0.95]
  weight_decay  = 0.1
  max_grad_norm = 1.0
}

memory_plan "three" {
  model     = model.llama.target
  peft      = peft.lora.adapter
  stages    = 3
  precision = var.precision
}

# What the stages share. Each says below in what it differs.
defaults "stage" {
  precision = var.precision
  freeze    = ["inherited"]
  adapter   = peft.lora.adapter
  train {
    data             = data.fineweb_edu.docs
    tokenizer        = tokenizer.bpe.docs
    optimizer        = optimizer.adamw.main
    sequence_length  = 128
    batch_size       = 8
    micro_batch_size = 4
    tokens           = var.tokens * 0.4
    stop_at          = 0.75 # of its schedule, then the model grows
    schedule "cosine" {
      warmup_ratio = 0.05
      min_lr_ratio = 0.1
    }
    checkpoint { every_steps = 200 }
  }
}

stage "seed" {
  model   = model.llama.target
  layers  = memory_plan.three.layers[0]
  freeze  = null # it inherits nothing
  adapter = null
}

stage "middle" {
  from = stage.seed
  grow "interpolation" { layers = memory_plan.three.layers[1] }
}

stage "final" {
  from = stage.middle
  grow "interpolation" { layers = memory_plan.three.layers[2] }
  train {
    stop_at = 1
    schedule "cosine" { min_lr_ratio = 0.02 }
  }
}

# Instruction tuning, as a demonstration: a model of a million parameters learns the form of an answer, not what is true.
data "conversations" "pairs" {
  source = "data/go-docs-pairs.jsonl"
  seed   = 7
}

stage "tuned" {
  from = stage.final
  train {
    data      = data.conversations.pairs
    objective = "sft"
    tokens    = var.tokens * 0.05
    stop_at   = 1
  }
}

# Which sentence documents a function, of four from its package? The packages are held out.
task "go_docs" {
  data_files    = "data/go-docs-questions.jsonl"
  output_type   = "multiple_choice"
  doc_to_text   = "query"
  doc_to_choice = "choices"
  doc_to_target = "gold"
  metric_list   = ["acc", "acc_norm"]
}

evaluate "tasks" "final" {
  model = stage.final
  tasks = [task.go_docs]
}

evaluate "tasks" "tuned" {
  model = stage.tuned
  tasks = [task.go_docs]
}

evaluate "perplexity" "step" {
  model = stage.final
  data  = data.fineweb_edu.docs.validation
}

evaluate "generation" "samples" {
  model          = stage.final
  prompts        = ["Package strings implements", "The function returns an error if"]
  max_new_tokens = 32
  temperature    = 0.7
  top_p          = 0.9
  seed           = 3
}

evaluate "generation" "answers" {
  model          = stage.tuned
  prompts        = ["<|im_start|>user\nWhat does Fields do in package strings?<|im_end|>\n<|im_start|>assistant\n"]
  max_new_tokens = 32
}

export "huggingface" "model" {
  model = stage.tuned
  path  = "out/model"
}

output "validation_loss" {
  value       = evaluate.perplexity.step.loss
  description = "nats a token on held-out packages"
}

output "unigram_entropy" {
  value       = evaluate.perplexity.step.unigram_entropy
  description = "what a model that sees no context can reach at best, nats a token"
}

output "bits_per_byte" {
  value = evaluate.perplexity.step.bits_per_byte
}

output "accuracy" {
  value       = { for when, x in { final = evaluate.tasks.final, tuned = evaluate.tasks.tuned } : when => x.results["go_docs"].acc }
  description = "of the questions on held-out packages; guessing gives 0.25"
}
