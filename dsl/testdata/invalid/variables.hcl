variable "n" { # ERROR: Missing variable
  type = number
}
variable "s" {
  type    = number
  default = "many" # ERROR: Wrong type
}
variable "p" {
  default = -1
  validation {
    condition     = var.p > 0 # ERROR: Invalid variable
    error_message = "p must be positive"
  }
}
variable "q" {
  defualt = 1 # ERROR: Unknown attribute
  check {} # ERROR: Unknown block
  default = 2
}
output "x" { value = [var.n, var.s, var.p, var.q] }
