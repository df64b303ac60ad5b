output "late" { value = local.twice }
locals { twice = 2 * var.n }
variable "n" {
  type        = number
  default     = 21
  sensitive   = false
  description = "half the answer"
}
optimizer "adamw" "o" { learning_rate = local.rate }
locals { rate = pow(10, -3) }
output "unused" { value = optimizer.adamw.o.address }
