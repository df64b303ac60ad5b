evaluate "perplexity" "final" {
  model = stage.grown
  data  = data.fineweb_edu.corpus.validation
  lifecycle {
    prevent_destroy      = true
    ignore_changes       = [max_tokens]
    replace_triggered_by = [stage.seed.loss]
    precondition {
      condition     = data.fineweb_edu.corpus.rows > 1000
      error_message = "Only ${data.fineweb_edu.corpus.rows} documents."
    }
  }
}
