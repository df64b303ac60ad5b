variable "source" {
  type    = string
  default = "hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet"
}

data "fineweb_edu" "corpus" {
  source              = var.source
  validation_fraction = 0.01
}

tokenizer "bpe" "english" {
  train_on   = data.fineweb_edu.corpus
  vocab_size = 32768
}

model "llama" "small" {
  vocab_size              = tokenizer.bpe.english.vocab_size
  hidden_size             = 576
  intermediate_size       = 1536
  num_hidden_layers       = 12
  num_attention_heads     = 9
  num_key_value_heads     = 3
  max_position_embeddings = 1024
  tie_word_embeddings     = true
}

optimizer "adamw" "main" { learning_rate = 5e-4 }

peft "lora" "adapter" {
  r              = 64
  lora_alpha     = 64
  target_modules = ["all-linear"]
}

stage "seed" {
  model  = model.llama.small
  layers = 7
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 1e9
  }
}

stage "grown" {
  from    = stage.seed
  freeze  = ["inherited"]
  adapter = peft.lora.adapter
  grow "interpolation" { layers = 5 }
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 1e9
  }
}

evaluate "perplexity" "final" {
  model = stage.grown
  data  = data.fineweb_edu.corpus.validation
}

export "huggingface" "final" {
  model = stage.grown
  path  = "out/small"
}

output "perplexity" { value = evaluate.perplexity.final.perplexity }
