memory_plan "three" {
  model  = model.llama.small
  peft   = peft.lora.adapter
  stages = 3
}
# memory_plan.three.layers → [5, 4, 3]
# format("%.1f%%", 100 * memory_plan.three.saving) → "35.9%"

memory_plan "fits" {
  model  = model.llama.small
  peft   = peft.lora.adapter
  budget = "800 MiB" # the fewest stages whose states fit
}
# memory_plan.fits.stages → 2
