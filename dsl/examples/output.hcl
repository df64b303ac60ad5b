output "perplexity" {
  value       = evaluate.perplexity.final.perplexity
  description = "of the documents held out"
  precondition {
    condition     = evaluate.perplexity.final.documents > 1000
    error_message = "Too few documents to be compared with other models."
  }
}
output "model" { value = export.huggingface.final.path } # → "out/small"
