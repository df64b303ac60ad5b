locals {
  arithmetic = 7 * 2 + -1      # → 13
  remainder  = 7 % 4           # → 3
  division   = 7 / 2           # → 3.5
  compared   = 1 < 2 && 2 != 3 # → true
  either     = false || !false # → true
  # 1 / 0 → error: A number is infinite, as after a division by zero
  # "a" + "b" → error: a number is required
  # "a" < "b" → error: a number is required
}
