output "layers" { value = stage.grown.num_hidden_layers } # → 12
output "loss" { value = stage.grown.loss }                # → (known after apply)
# stage.grown.loss + 1 → (known after apply)
# stage.grown.loss == null → (known after apply)
# [stage.grown.num_hidden_layers, stage.grown.loss] → [12, (known after apply)]
# stage.grown.loss > 0 ? "a" : "b" → (known after apply)
# type(stage.grown.loss) → "number"
