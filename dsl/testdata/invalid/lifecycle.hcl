model "llama" "m" {
  vocab_size              = 300
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 3
  num_attention_heads     = 2
  max_position_embeddings = 32
  lifecycle {
    precondition {
      condition     = self.address != "" # ERROR: Unknown name
      error_message = "x"
    }
    postcondition {
      condition     = self.nothing > 1 # ERROR: Unknown attribute
      error_message = "x"
    }
    postcondition {
      condition     = model.llama.m.address != "" # ERROR: Cycle
      error_message = "x"
    }
    precondition { # ERROR: Missing attribute
      condition = nosuch(1) > 1
    }
    preconditon { # ERROR: Unknown block
    }
  }
  lifecycle { # ERROR: Duplicate block
  }
}

output "m" {
  value = model.llama.m.address
  lifecycle { # ERROR: Unknown block
  }
}

data "jsonl" "d" {
  source     = "x"
  depends_on = model.llama.m # ERROR: Wrong type
}
data "jsonl" "e" {
  source     = "x"
  depends_on = [
    "a", # ERROR: Not an address
    data.jsonl.nosuch, # ERROR: Unknown block
    local.x, # ERROR: Not an address
  ]
}
data "jsonl" "f" {
  source     = "x"
  depends_on = [data.jsonl.f] # ERROR: Cycle
}
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 300
  lifecycle {
    ignore_changes = [
      train_on,
      "max_bytes", # ERROR: Unknown attribute
      vocab_sise,  # ERROR: Unknown attribute
      file,        # ERROR: Unknown attribute
    ]
    prevent_destroy = 1 # ERROR: Wrong type
  }
}
tokenizer "bpe" "u" {
  train_on   = data.jsonl.d
  vocab_size = 300
  lifecycle {
    ignore_changes  = some # ERROR: Wrong type
    prevent_destroy = var.x # ERROR: Not a constant
  }
}
check "a" "b" { # ERROR: Wrong number of labels
}
check "a" {
  assert { # ERROR: Missing attribute
    condition = true
  }
  assert {
    condition     = output.m # ERROR: Unknown name
    error_message = "x"
  }
}
check "a" { # ERROR: Duplicate name
}
check "b" {
  data "x" "y" {} # ERROR: Unknown block
  assert {
    condition     = true
    error_message = local.nosuch # ERROR: Unknown local value
  }
}
export "huggingface" "e" {
  model = stage.nosuch # ERROR: Unknown block
  path  = "out"
  lifecycle {
    ignore_changes = [model] # ERROR: Not ignored
    replace_triggered_by = [
      var.x,               # ERROR: Not a trigger
      "a",                 # ERROR: Not a trigger
      model.llama.nosuch,  # ERROR: Unknown block
      model.llama.m.x,     # ERROR: Unknown attribute
      export.huggingface.e # ERROR: Cycle
    ]
  }
}
export "huggingface" "f" {
  model = stage.nosuch # ERROR: Unknown block
  path  = "out"
  lifecycle {
    replace_triggered_by = model.llama.m # ERROR: Not a trigger
  }
}
