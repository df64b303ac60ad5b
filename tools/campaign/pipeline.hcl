variable "source" {
  type    = any
  default = "data/*.jsonl"
}

variable "shard" {
  type    = string
  default = "32 kB"
}

data "jsonl" "docs" {
  source              = var.source
  validation_fraction = 0.1
  seed                = 7
  cache               = "tokens"
}

tokenizer "bpe" "docs" {
  train_on   = data.jsonl.docs
  vocab_size = 300
}

model "llama" "target" {
  vocab_size              = tokenizer.bpe.docs.vocab_size
  hidden_size             = 32
  intermediate_size       = 64
  num_hidden_layers       = 3
  num_attention_heads     = 2
  max_position_embeddings = 64
  tie_word_embeddings     = true
}

peft "relora" "adapter" {
  r              = 4
  lora_alpha     = 8
  target_modules = ["all-linear"]
  reset_every    = 7
}

optimizer "adamw" "main" { learning_rate = 2e-3 }

stage "seed" {
  model  = model.llama.target
  layers = 2
  train {
    data            = data.jsonl.docs
    tokenizer       = tokenizer.bpe.docs
    optimizer       = optimizer.adamw.main
    sequence_length = 64
    batch_size      = 4
    steps           = 60
    keep_best       = "validation.loss"
    schedule "cosine" { warmup_ratio = 0.1 }
    evaluate "validation" {
      every_steps = 6 # between checkpoints, which hold the best one before them
      data        = data.jsonl.docs.validation
      max_tokens  = 200
    }
    checkpoint {
      every_steps = 4
      keep        = 2
    }
  }
}

stage "final" {
  from = stage.seed
  grow "interpolation" { layers = 1 }
  freeze  = ["inherited"]
  adapter = peft.relora.adapter
  train {
    data            = data.jsonl.docs
    tokenizer       = tokenizer.bpe.docs
    optimizer       = optimizer.adamw.main
    sequence_length = 64
    batch_size      = 4
    steps           = 60
    schedule "cosine" { warmup_ratio = 0.1 }
    checkpoint {
      every_steps = 4
      keep        = 2
    }
  }
}

evaluate "perplexity" "final" {
  model      = stage.final
  data       = data.jsonl.docs.validation
  max_tokens = 2000
}

evaluate "generation" "final" {
  model          = stage.final
  prompts        = ["ba", "ko"]
  max_new_tokens = 24
  temperature    = 1
}

export "huggingface" "model" {
  model          = stage.final
  path           = "out/model"
  max_shard_size = var.shard
}

output "loss" { value = evaluate.perplexity.final.loss }
output "texts" { value = evaluate.generation.final.texts }
