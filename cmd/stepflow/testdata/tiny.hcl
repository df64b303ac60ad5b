variable "steps" { default = 4 }
variable "lr" { default = 1e-2 }

data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
}

tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}

model "llama" "m" {
  vocab_size              = tokenizer.bpe.t.vocab_size
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 3
  num_attention_heads     = 2
  max_position_embeddings = 32
  tie_word_embeddings     = true
}

peft "lora" "a" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["all-linear"]
}

optimizer "adamw" "o" { learning_rate = var.lr }

stage "one" {
  model  = model.llama.m
  layers = 2
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 12
    batch_size      = 2
    steps           = var.steps
    checkpoint { every_steps = 2 }
  }
}

stage "two" {
  from = stage.one
  grow "interpolation" { layers = 1 }
  freeze  = ["inherited"]
  adapter = peft.lora.a
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 12
    batch_size      = 2
    steps           = 4
  }
}

evaluate "perplexity" "p" {
  model = stage.two
  data  = data.jsonl.d.validation
}

export "huggingface" "e" {
  model = stage.two
  path  = "out"
}

output "loss" {
  value       = evaluate.perplexity.p.loss
  description = "validation loss"
}

output "layers" { value = stage.two.num_hidden_layers }
