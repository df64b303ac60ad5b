tokens    = 2e9
precision = "bf16"
