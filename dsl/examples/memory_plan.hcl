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

memory_plan "device" {
  model     = model.llama.small
  peft      = peft.lora.adapter
  optimizer = optimizer.adamw.main
  alternative { optimizer = optimizer.adamw.lean }

  device_memory   = "1 GiB" # for all that a stage takes
  sequence_length = 512
  batch_size      = 32
  objective       = "time"
  updates         = ["separate", "fused"]
  tokens          = 1e9
  position        = "even"
}

optimizer "adamw" "lean" {
  learning_rate         = 5e-4
  bf16_stochastic_round = true
}
