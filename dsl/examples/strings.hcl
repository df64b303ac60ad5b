locals {
  size   = 135
  name   = "smollm2-${local.size}M"                           # → "smollm2-135M"
  escape = "a quote \" and a line\nand $${this} as it is"     # → "a quote \" and a line\nand $${this} as it is"
  kind   = "%{if local.size > 1000}large%{else}small%{endif}" # → "small"
  list   = "%{for l in ["en", "de"]}<${l}>%{endfor}"          # → "<en><de>"
  prompt = <<-EOT
    The capital of France is
      ${upper("paris")}.
  EOT
  # local.prompt → "The capital of France is\n  PARIS.\n"
}
