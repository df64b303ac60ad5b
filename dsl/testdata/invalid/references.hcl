variable "tokens" { default = 1 }
variable "tokens" { default = 2 } # ERROR: Duplicate name
locals {
  a = local.b
  b = local.a # ERROR: Cycle
  c = var.token     # ERROR: Unknown variable
  d = local.bb      # ERROR: Unknown local value
  e = stage.nothing # ERROR: Unknown block
  f = nowhere.x     # ERROR: Unknown name
  g = maxx(1, 2)    # ERROR: Unknown function
  h = each.key      # ERROR: Unknown name
  i = data.text.d.rowz # ERROR: Unknown attribute
  j = var.tokens
  k = var.tokens-1     # ERROR: Unknown variable
  l = local.a-1        # ERROR: Unknown local value
  m = data.text.d.rows-1 # ERROR: Unknown attribute
  n = [for x in [1] : x-1] # ERROR: Unknown name
}
data "text" "d" { source = "x" }
