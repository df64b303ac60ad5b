locals {
  tokens = 20 * model.llama.small.num_parameters # as in Hoffmann et al. 2022
  batch  = 64 * 1024                             # → 65536
  steps  = ceil(local.tokens / local.batch)      # → 18725
}
