# The sweep of test.sh: three stages, three that continue them, and an evaluation of each.
locals {
  rates = toset(["0.01", "0.02", "0.03"])
}

executor "slurm" "small" {
  partition     = "main"
  cpus_per_task = 2
  mem           = "300 MiB"
  time          = "10"
  retries       = 2
  setup         = "export SWEEP=1"
}

defaults "stage" { executor = executor.slurm.small }

data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
}

tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}

model "llama" "m" {
  vocab_size              = 270
  hidden_size             = 32
  intermediate_size       = 48
  num_hidden_layers       = 3
  num_attention_heads     = 2
  max_position_embeddings = 32
}

optimizer "adamw" "o" {
  for_each      = local.rates
  learning_rate = each.value
}

stage "seed" {
  for_each = local.rates
  model    = model.llama.m
  layers   = 2
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o[each.key]
    sequence_length = 24
    batch_size      = 8
    steps           = 400
    checkpoint { every_steps = 40 }
  }
}

stage "grown" {
  for_each = local.rates
  from     = stage.seed[each.key]
  grow "interpolation" { layers = 1 }
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o[each.key]
    sequence_length = 24
    batch_size      = 8
    steps           = 400
    checkpoint { every_steps = 40 }
  }
}

evaluate "perplexity" "e" {
  for_each = local.rates
  executor = executor.slurm.small
  model    = stage.grown[each.key]
  data     = data.jsonl.d.validation
}

output "losses" { value = [for e in evaluate.perplexity.e : e.loss] }
