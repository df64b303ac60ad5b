# The architecture and the weights of a model in the cache of Hugging Face's tools.
model "auto" "base" {
  from = "hf://HuggingFaceTB/SmolLM2-135M"
}
