memory_plan "measured" {
  model           = model.llama.small
  optimizer       = optimizer.adamw.main
  device_memory   = "12 GiB"
  sequence_length = 512
  batch_size      = 32
  stages          = 1
  evaluate "zero_shot" { # as in the stages' train
    tasks = ["hellaswag", "lambada_openai"]
    limit = 1000
  }
}
