check "equal_flops" {
  assert {
    condition = abs(sum([for s in module.run.stages : var.accounting == "executed" ? s.flops : 6 * s.num_parameters * s.tokens]) /
    local.budget - 1) < 0.01
    error_message = "The stages take more than 1 % more or less than the budget of ${local.budget} FLOPs, so that this run is not comparable with other methods. Small budgets do not divide into steps."
  }
}
