evaluate "perplexity" "final" {
  model = stage.grown
  data  = data.fineweb_edu.corpus.validation # the documents held out, not the training split
}
# data.fineweb_edu.corpus.address → "data.fineweb_edu.corpus"
# data.fineweb_edu.corpus.validation.address → "data.fineweb_edu.corpus.validation"
# data.fineweb_edu.corpus.rows → 5000
