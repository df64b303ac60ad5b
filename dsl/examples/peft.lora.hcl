peft "lora" "adapter" {
  r              = 64
  lora_alpha     = 64
  target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
  use_rslora     = true
}
