check "quality" {
  assert {
    condition     = evaluate.perplexity.final.perplexity < 20
    error_message = "Perplexity is ${evaluate.perplexity.final.perplexity}, worse than the last release."
  }
}
