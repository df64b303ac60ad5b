telemetry {
  step_every = 100 # one step in a hundred has a span for each operation
  max_spans  = 50000
}
