optimizer "adafactor" "main" {
  learning_rate  = 1e-3
  clip_threshold = 1.0
}
