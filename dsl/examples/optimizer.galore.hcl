optimizer "galore" "main" {
  learning_rate   = 0.01
  rank            = 128 # at most the smaller side of a projection
  update_proj_gap = 200 # steps from one projection to the next
  fira            = true
  state_dtype     = "int8" # 8-bit GaLore
}
