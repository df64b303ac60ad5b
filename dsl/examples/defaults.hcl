# The stages of the pipeline above would have this too, and their own train settings beside it.
defaults "stage" {
  precision = "bf16"
  train {
    schedule "cosine" { warmup_ratio = 0.05 }
    checkpoint { every_steps = 500 }
  }
}

defaults "evaluate" "perplexity" { batch_size = 16 }
