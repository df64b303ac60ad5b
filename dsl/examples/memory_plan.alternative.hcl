memory_plan "device" {
  model     = model.llama.small
  peft      = peft.lora.adapter
  optimizer = optimizer.adamw.main
  alternative { optimizer = optimizer.adamw.lean }
  device_memory   = "3 GiB" # for all that a stage takes
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
# memory_plan.device.stages → 1
# memory_plan.device.optimizer.address → "optimizer.adamw.main"
