optimizer "adafactor" "main" {
  learning_rate  = 1e-3
  clip_threshold = 1.0
  beta1          = 0.9 # a first moment, which Adafactor usually does without
  state_dtype    = "int8"
}
