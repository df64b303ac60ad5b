variable "precision" { default = null }

locals {
  precision = var.precision == null ? "bf16" : var.precision # → "bf16"
  rate      = local.precision == "bf16" ? 1e-3 : 5e-4        # → 0.001
  # true ? 1 : 1 / 0 → 1
  # true ? 1 : "a" → "1"
  # true ? [1] : "a" → error: Inconsistent conditional result types
}
