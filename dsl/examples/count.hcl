optimizer "adamw" "rate" {
  count         = 3
  learning_rate = 1e-4 * pow(2, count.index)
}
output "last" { value = optimizer.adamw.rate[2].address } # → "optimizer.adamw.rate[2]"
# length(optimizer.adamw.rate) → 3
# optimizer.adamw.rate[3].address → error: Invalid index
# optimizer.adamw.rate.address → error: optimizer.adamw.rate is repeated, so name an instance
