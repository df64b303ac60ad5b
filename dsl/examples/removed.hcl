removed {
  from = stage.first_try
  lifecycle { destroy = false } # the state forgets it, and its files stay
}
