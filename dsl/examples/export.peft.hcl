stage "adapted" {
  from    = stage.grown
  freeze  = ["*"]
  adapter = peft.lora.adapter
  train {
    data            = data.fineweb_edu.corpus
    tokenizer       = tokenizer.bpe.english
    optimizer       = optimizer.adamw.main
    sequence_length = 1024
    batch_size      = 64
    tokens          = 1e8
  }
}

export "peft" "adapters" {
  model                   = stage.adapted
  path                    = "out/adapters"
  base_model_name_or_path = export.huggingface.final.path
}
