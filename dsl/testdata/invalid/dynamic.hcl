data "mixture" "m" {
  dynamic { # ERROR: Wrong number of labels
    for_each = []
    content {}
  }
  dynamic "prat" { # ERROR: Unknown block
    for_each = []
    content {}
  }
  dynamic "part" { # ERROR: Missing attribute
    content { # ERROR: Missing attribute
      data  = part.value
      wight = part.key # ERROR: Unknown attribute
    }
  }
  dynamic "part" {
    for_each = local.none # ERROR: Unknown local value
    iterator = local # ERROR: Invalid iterator
    labels   = ["x"] # ERROR: Wrong number of labels
    content {
      data   = var.x # ERROR: Unknown variable
      weight = part.key # ERROR: Unknown name
    }
  }
  dynamic "part" {        # ERROR: Missing block
    for_each = part.value # ERROR: Unknown name
  }
}

stage "a" {
  dynamic "grow" { # ERROR: Missing label
    for_each = []
    content { layers = 1 }
  }
  dynamic "lifecycle" { # ERROR: Not dynamic
    for_each = []
    content {}
  }
  dynamic "train" {
    for_each = ["x"]
    content { # ERROR: Missing attribute
      tokenizer       = tokenizer.bpe.t
      optimizer       = optimizer.adamw.o
      sequence_length = 8
      batch_size      = 1
      dynamic "schedule" {
        for_each = [train.value]
        iterator = item
        labels   = [item.value, schedule.value] # ERROR: Unknown name
        content {}
      }
    }
  }
  lifecycle {
    dynamic "precondition" { # ERROR: Unknown block
      for_each = []
      content {}
    }
  }
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
