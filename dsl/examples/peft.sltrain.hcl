# Projections that train are the product of two matrices, and have a value at 3 % of their elements.
peft "sltrain" "weights" {
  r              = 128
  lora_alpha     = 32
  sparsity       = 0.03
  target_modules = ["all-linear"]
}
