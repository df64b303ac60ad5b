locals {
  sum      = "5" + 1                     # → 6
  text     = "${5} layers"               # → "5 layers"
  negated  = !"true"                     # → false
  elements = tolist(["a", 1, true])      # → ["a", "1", "true"]
  equal    = 1 == "1"                    # → false
  same     = tostring(1) == "1"          # → true
  chosen   = tobool("true") ? "yes" : "" # → "yes"
  # tonumber("many") → error: cannot convert "many" to number
  # [1] == tolist([1]) → false
}
