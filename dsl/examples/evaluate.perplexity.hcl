evaluate "perplexity" "final" {
  model           = stage.grown
  data            = data.fineweb_edu.corpus.validation
  sequence_length = 1024
  stride          = 512
  max_tokens      = 1e6
}
