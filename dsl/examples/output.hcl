output "perplexity" {
  value       = evaluate.perplexity.final.perplexity
  description = "of the documents held out"
}
output "model" { value = export.huggingface.final.path } # → "out/small"
