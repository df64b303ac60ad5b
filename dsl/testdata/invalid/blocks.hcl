stgae "a" {} # ERROR: Unknown block
x = 1        # ERROR: Attribute outside a block
model "lama" "m" {} # ERROR: Unknown model type
model "llama" { # ERROR: Wrong number of labels
}
optimizer "adamw" "1x" { # ERROR: Invalid name
  learning_rate = 1
}
optimizer "adamw" "o" { learning_rate = 1 }
optimizer "adamw" "o" { # ERROR: Duplicate name
  learning_rate = 2
}
telemetry {}
telemetry {} # ERROR: Duplicate block
output "o" { value = optimizer.adamw.o }
locals {
  a = 1
}
locals {
  a = 2 # ERROR: Duplicate name
}
