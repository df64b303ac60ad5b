peft "relora" "adapter" {
  r                    = 128
  lora_alpha           = 128
  target_modules       = ["all-linear"]
  reset_every          = 1000
  restart_warmup_steps = 50
}
