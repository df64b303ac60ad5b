variable "seed" { default = null }

data "fineweb_edu" "corpus" {
  source              = var.source
  validation_fraction = 0.01
  seed                = var.seed # null: as if the line were not there, so 0
}
output "seeds" { value = [var.seed, coalesce(var.seed, 7), var.seed == null] } # → [null, 7, true]
# var.seed + 1 → error: argument must not be null
