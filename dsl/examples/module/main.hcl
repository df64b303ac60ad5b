module "run" {
  source    = "./sized"
  for_each  = { small = 8, large = 16 }
  corpus    = data.fineweb_edu.corpus
  tokenizer = tokenizer.bpe.english
  layers    = each.value
}
evaluate "perplexity" "large" {
  model = module.run["large"].model # a whole block, which the module gives back
  data  = data.fineweb_edu.corpus.validation
}
# module.run["small"].parameters → 69609024
# keys(module.run) → ["large", "small"]
