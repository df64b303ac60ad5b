defaults { # ERROR: Wrong number of labels
}

defaults "stgae" { # ERROR: Unknown kind
}

defaults "output" { # ERROR: Unknown kind
}

defaults "peft" "laro" { # ERROR: Unknown peft type
}

defaults "memory_plan" "three" { # ERROR: Wrong number of labels
}

defaults "optimizer" {
  lr       = 1e-3 # ERROR: Unknown attribute
  momentum = 0.9
  seed     = 1 # ERROR: Unknown attribute
}

defaults "optimizer" { # ERROR: Duplicate defaults
}

defaults "optimizer" "adamw" {
  momentum = 0.9 # ERROR: Unknown attribute
}

defaults "stage" {
  count      = 2 # ERROR: Not a default
  depends_on = [stage.a] # ERROR: Not a default
  precison   = "bf16" # ERROR: Unknown attribute
  seed       = each.key # ERROR: Unknown name
  train {
    tokens = var.tokens # ERROR: Unknown variable
    schedule "csine" { # ERROR: Unknown schedule type
    }
  }
  lifecycle { # ERROR: Not a default
    prevent_destroy = true
  }
}

defaults "evaluate" {
  model = stage.none # ERROR: Unknown block
}

stage "a" {
  train { # ERROR: Missing attribute
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
  }
}

stage "b" {      # ERROR: Missing block
  grow  = 1    # ERROR: Unknown attribute
  train = null # unset, and required
}

tokenizer "bpe" "t" {
  train_on   = data.text.d
  vocab_size = 300
}

optimizer "adamw" "o" {
  learning_rate = 1
}

data "text" "d" {
  source = "x"
}
