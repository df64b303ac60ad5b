data "bin" "tokens" {
  source = "fineweb10B/fineweb_train_*.bin" # as llm.c's data scripts write them
  epochs = 1
}
