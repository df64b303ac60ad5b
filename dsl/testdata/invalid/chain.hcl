locals {
  through = stage.through[0].loss # ERROR: Cycle
}

stage "counted" {
  count      = length(stage.counted) # ERROR: Cycle
  depends_on = [stage.counted]       # ERROR: Cycle
  train {
    data            = data.text.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    tokens          = 1
  }
}

stage "keyed" {
  for_each = toset(["a", "b"])
  from     = stage.keyed["a"] # ERROR: Cycle
  train {
    data            = data.text.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    tokens          = 1
  }
}

stage "whole" {
  count = 2
  from  = stage.whole.loss # ERROR: Missing instance key
  train {
    data            = data.text.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    tokens          = 1
  }
}

stage "through" {
  count = 2
  from  = stage.whole[0]
  train {
    data            = data.text.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    tokens          = local.through
  }
}

data "text" "d" { source = "x" }
tokenizer "bpe" "t" {
  train_on   = data.text.d
  vocab_size = 300
}
optimizer "adamw" "o" { learning_rate = 1 }
