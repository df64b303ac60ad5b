locals {
  widths = { small = 576, large = 2048 }
  heads  = [for w in local.widths : w / 64]                 # → [32, 9]
  names  = [for k, w in local.widths : k if w > 1000]       # → ["large"]
  double = { for k, w in local.widths : upper(k) => 2 * w } # → {LARGE = 4096, SMALL = 1152}
  grid   = [for r in [8, 64] : [for a in [1, 2] : r * a]]   # → [[8, 16], [64, 128]]
  pairs  = { for x in setproduct(["lora", "relora"], [8, 64]) : "${x[0]}-${x[1]}" => x[1] }
  kinds  = { for n in ["a1", "b1", "a2"] : substr(n, 0, 1) => n... } # → {a = ["a1", "a2"], b = ["b1"]}
  # keys(local.pairs) → ["lora-64", "lora-8", "relora-64", "relora-8"]
  # { for n in ["a1", "a2"] : substr(n, 0, 1) => n } → error: Duplicate object key
}
