# A block: its kind, its labels, and a body of attributes and other blocks.
peft "relora" "adapter" {
  r              = 64 # an attribute: a name and an expression
  lora_alpha     = 64
  target_modules = ["q_proj", "v_proj"]
  reset_every    = 1000
  lifecycle {
    precondition {
      condition     = var.rank_limit >= 64
      error_message = "The adapter's rank is above the limit."
    }
  }
}
// This is a comment too, and /* this */ is one inside a line.
variable "rank_limit" { default = 128 }
