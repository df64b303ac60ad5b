evaluate "perplexity" "by_length" {
  for_each        = { short = 256, long = 1024 }
  model           = stage.grown
  data            = data.fineweb_edu.corpus.validation
  sequence_length = each.value
}
output "losses" { value = { for k, e in evaluate.perplexity.by_length : k => e.loss } }
# evaluate.perplexity.by_length["short"].address → "evaluate.perplexity.by_length[\"short\"]"
# keys(evaluate.perplexity.by_length) → ["long", "short"]
# evaluate.perplexity.by_length["middle"].loss → error: Invalid index
