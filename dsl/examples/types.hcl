locals {
  text   = "FineWeb-Edu"                      # string
  tokens = 2e9                                # number: 2e9, 0.1 and 1.5e-3 are numbers too
  masked = true                               # bool
  widths = [576, 768]                         # tuple, where a list is wanted a list
  model  = { hidden_size = 576, tied = true } # object, where a map is wanted a map
  types  = [type(local.tokens), type(local.widths), type(local.model)]
  # local.types → ["number", "tuple([number,number])", "object({hidden_size=number,tied=bool})"]
  # local.model.hidden_size → 576
  # local.model["hidden_size"] → 576
  # local.widths[1] → 768
  # local.widths[2] → error: Invalid index
  # toset(["b", "a", "b"]) → ["a", "b"]
}
