variable "weights" { default = { web = 0.7, code = 0.3 } }
data "jsonl" "source" {
  for_each = var.weights
  source   = "${each.key}/*.jsonl"
}

data "mixture" "all" {
  dynamic "part" {
    for_each = var.weights
    content {
      data   = data.jsonl.source[part.key]
      weight = part.value
    }
  }
}
