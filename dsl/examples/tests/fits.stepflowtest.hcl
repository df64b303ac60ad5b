mock_data "fineweb_edu" { documents = 5000 } # generated: no network is needed

override {
  target = stage.grown
  values = { train = { batch_size = 128 } }
}
run "fits" {
  command = plan
  assert {
    condition     = stage.grown.peak_bytes < 80 * pow(1024, 3)
    error_message = "The grown stage takes ${stage.grown.peak_bytes} bytes."
  }
}
