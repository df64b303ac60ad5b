optimizer "apollo" "main" {
  learning_rate = 0.01
  rank          = 128 # at most the smaller side of a projection
}
