evaluate "generation" "samples" {
  model          = stage.grown
  prompts        = ["The sun is", "Water boils at"]
  max_new_tokens = 32
  temperature    = 0.8
  top_p          = 0.95
  seed           = 1
}
