# The adapters begin with the largest singular values of the weights, found by a randomised search.
peft "lora" "principal" {
  r                 = 64
  lora_alpha        = 64
  target_modules    = ["all-linear"]
  init_lora_weights = "pissa_niter_4"
}
