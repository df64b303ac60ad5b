moved "x" { # ERROR: Wrong number of labels
  from = stage.a
  to   = stage.b
}
moved { from = stage.a } # ERROR: Missing attribute
moved {
  from = stage.a[*] # ERROR: Not an address
  to   = "stage.b" # ERROR: Not an address
}
moved {
  from = stage.a[1.5] # ERROR: Not an address
  to   = model.a # ERROR: Not an address
}
moved {
  from = output.a # ERROR: Not an address
  to   = output.b # ERROR: Not an address
}
removed {
  from = stage.a
  lifecycle { destroy = local.x } # ERROR: Variables not allowed
}
removed {
  from = stage.b
  lifecycle { destroy = null } # ERROR: Wrong type
}
removed {
  from  = stage.c
  count = 1 # ERROR: Unknown attribute
  lifecycle {
    destroy         = true
    prevent_destroy = true # ERROR: Unknown attribute
  }
}
removed {
  from = stage.d
  lifecycle { destroy = true }
}
removed { # ERROR: Removed twice
  from = stage.d
  lifecycle { destroy = false }
}
import { # ERROR: Unknown block
  to = stage.a[0]
  id = data.text.d.files # ERROR: Unknown block
}
import {
  to = tokenizer.bpe.t # ERROR: Not a stage
  id = "x"
}
import { # ERROR: Unknown block
  to = stage.s
  id = var.nowhere # ERROR: Unknown variable
}
locals { x = true }
