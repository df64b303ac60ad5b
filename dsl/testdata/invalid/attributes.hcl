optimizer "adamw" "o" { # ERROR: Missing attribute
  learning_rat = 1 # ERROR: Unknown attribute
}
peft "lora" "p" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["q_proj"]
  reset_every    = 5 # ERROR: Unknown attribute
}
stage "s" { # ERROR: Missing block
  grow = "interpolation" # ERROR: Unknown attribute
  grow "interpolate" { # ERROR: Unknown grow type
    layers = 1
  }
  grow "stack" { layers = 1 } # ERROR: Duplicate block
  freez {} # ERROR: Unknown block
}
output "o" {
  value = [optimizer.adamw.o, peft.lora.p]
}
