variable "sizes" {
  type        = map(object({ width = number, layers = optional(number, 12) }))
  default     = { small = { width = 576 } }
  description = "the models to train"
  nullable    = false
  validation {
    condition     = alltrue([for s in var.sizes : s.width % 64 == 0])
    error_message = "Every width must be a multiple of 64."
  }
}
output "layers" { value = var.sizes["small"].layers } # → 12
