locals { layers = 12 }

output "named" {
  value = {
    variable = var.source
    local    = local.layers
    block    = tokenizer.bpe.english.vocab_size # kind, type, name, and what the block offers
    stage    = stage.grown.num_hidden_layers    # a stage has no type
    folder   = basename(path.module)
  }
}
# stage.sed → error: There is no stage.sed. Did you mean "stage.seed"?
# stage.seed.lose → error: stage.seed offers no "lose". Did you mean "loss"?
