# The sizes that there are. Another is another row.

variable "sizes" {
  type = map(object({
    hidden_size         = number
    intermediate_size   = number
    num_hidden_layers   = number
    num_attention_heads = number
    vocab_size          = number
    rank                = number # of adapters and projections
    learning_rate       = number # of AdamW
    tokens              = number
    batch_size          = number # sequences of a step
    micro_batch_size    = string
    sequence_length     = number
    reset_every         = number # steps between merges of ReLoRA
    source              = string
    validation_fraction = number
  }))
  default = {
    # llama_60m.json of GaLore's authors, with 10,000 steps of 512 sequences of 256 tokens.
    "60M" = {
      hidden_size   = 512, intermediate_size = 1376, num_hidden_layers = 8, num_attention_heads = 8, vocab_size = 32000, rank = 128
      learning_rate = 1e-3, tokens = 1.31072e9, batch_size = 512, micro_batch_size = "auto", sequence_length = 256, reset_every = 1000
      source        = "hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet", validation_fraction = 0.001
    }
    quickstart = {
      hidden_size   = 128, intermediate_size = 344, num_hidden_layers = 6, num_attention_heads = 4, vocab_size = 2048, rank = 32
      learning_rate = 2e-3, tokens = 1e6, batch_size = 8, micro_batch_size = "8", sequence_length = 128, reset_every = 100
      source        = "../quickstart/data/*.parquet", validation_fraction = 0.08
    }
  }
}
