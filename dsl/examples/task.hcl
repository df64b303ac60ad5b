task "capitals" {
  data_files    = "eval/capitals.jsonl"
  output_type   = "multiple_choice"
  doc_to_text   = "Question: {{question}}\nAnswer:"
  doc_to_choice = "{{[right, wrong]}}"
  doc_to_target = 0
}
