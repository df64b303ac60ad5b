locals {
  tokens = 20 * model.llama.small.num_parameters # of the Chinchilla paper
  batch  = 64 * 1024                             # → 65536
  steps  = ceil(local.tokens / local.batch)      # → 18725
}
