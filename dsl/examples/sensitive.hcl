variable "token" {
  sensitive = true
  default   = "hf_abcdef"
}
# var.token → (sensitive)
# "Bearer ${var.token}" → (sensitive)
# length(var.token) → (sensitive)
# { user = "me", token = var.token } → (sensitive)
# { user = "me", token = var.token }.user → "me"
# nonsensitive(length(var.token)) → 9
