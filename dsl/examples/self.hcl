evaluate "perplexity" "final" {
  model = stage.grown
  data  = data.fineweb_edu.corpus.validation
  lifecycle {
    postcondition {
      condition     = self.loss < stage.grown.loss + 0.5 # self is evaluate.perplexity.final
      error_message = "${self.address}: the loss is ${self.loss} on documents held out."
    }
  }
}
