memory_plan "narrow" {
  model           = model.llama.small
  peft            = peft.lora.adapter
  optimizer       = optimizer.adamw.main
  device_memory   = "2 GiB"
  sequence_length = 512
  batch_size      = 32

  # the values that the plan may choose from, the preferred ones first
  freezes       = [["inherited"], ["inherited", "embeddings"]]
  frozen_dtypes = ["none", "int8", "nf4"]
  state_dtypes  = ["fp32", "int8"]
}
# memory_plan.narrow.stages → 1
