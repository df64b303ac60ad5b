optimizer "adamw" "rate" {
  count         = 2
  learning_rate = 1e-4 * pow(2, count.index)
}
peft "lora" "rank" {
  for_each       = toset(["8", "64"])
  r              = each.value
  lora_alpha     = each.value
  target_modules = ["all-linear"]
}
# optimizer.adamw.rate[*].address → ["optimizer.adamw.rate[0]", "optimizer.adamw.rate[1]"]
# values(peft.lora.rank)[*].r → [64, 8]
# [for k, p in peft.lora.rank : p.r] → [64, 8]
