locals {
  budget = bytes("16 GiB")                                           # → 17179869184
  size   = params(model.llama.small)                                 # → 61356096
  tokens = format("%.1fB", tokens_for_flops(6e18, local.size) / 1e9) # → "16.3B"
  cache  = env("STEPFLOW_EXAMPLE", "no cache")                       # → "no cache"
}
