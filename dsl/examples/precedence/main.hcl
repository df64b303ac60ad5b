variable "tokens" {
  type    = number
  default = 1e9
}
variable "precision" { default = "fp32" }
variable "layers" { default = 6 }
output "values" { value = [var.tokens, var.precision, var.layers] } # → [4000000000, "bf16", 6]
