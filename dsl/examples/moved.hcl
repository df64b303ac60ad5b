moved {
  from = stage.large
  to   = stage.grown
}
moved {
  from = evaluate.perplexity.run[0]
  to   = evaluate.perplexity.final
}
