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
}
data "text" "d" { source = "x" }
