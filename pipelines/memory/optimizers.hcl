# Optimizers as their authors train 60M parameters. All round weights at random but adamw.main, which keeps a master in fp32.

locals {
  optimizers = {
    adamw         = optimizer.adamw.main
    adamw_rounded = optimizer.adamw.rounded
    adamw_8bit    = optimizer.adamw.narrow
    muon_8bit     = optimizer.muon.narrow
    galore        = optimizer.galore.main
    fira          = optimizer.galore.fira
    apollo        = optimizer.apollo.main
    apollo_mini   = optimizer.apollo_mini.main
    scale         = optimizer.scale.main
    adafactor     = optimizer.adafactor.main
  }
}

defaults "optimizer" {
  weight_decay          = 0
  bf16_stochastic_round = true
}

# The rate is that of ReLoRA's authors for training all 60M parameters (60M_relora.sh).
optimizer "adamw" "main" {
  learning_rate         = local.size.learning_rate
  bf16_stochastic_round = false
}

optimizer "adamw" "rounded" { learning_rate = local.size.learning_rate }

# sltrain60m.sh of SLTrain's authors.
optimizer "adamw" "sltrain" { learning_rate = 3e-3 }

# Dettmers et al. 2022 keep the hyperparameters of AdamW.
optimizer "adamw" "narrow" {
  learning_rate = local.size.learning_rate
  state_dtype   = "int8"
}

# Liu et al. 2025: the rate of AdamW serves.
optimizer "muon" "narrow" {
  learning_rate = local.size.learning_rate
  adjust_lr_fn  = "match_rms_adamw"
  state_dtype   = "int8"
  others        = optimizer.adamw.narrow
}

# llama_60m.sh of GaLore's authors.
optimizer "galore" "main" {
  learning_rate   = 0.01
  rank            = local.size.rank
  update_proj_gap = 200
  scale           = 0.25
}

optimizer "galore" "fira" {
  learning_rate   = 0.01
  rank            = local.size.rank
  update_proj_gap = 200
  scale           = 0.25
  fira            = true
}

# llama_60m_apollo.sh and llama_60m_apollo_mini.sh of APOLLO's authors.
optimizer "apollo" "main" {
  learning_rate   = 0.01
  rank            = local.size.rank
  update_proj_gap = 200
  scale           = 1
}

optimizer "apollo_mini" "main" {
  learning_rate   = 0.01
  rank            = 1
  update_proj_gap = 200
  scale           = 128
}

# 60m_scale.sh of SCALE's authors.
optimizer "scale" "main" {
  learning_rate = 1e-3
  momentum      = 0.9
}

# Adafactor's rate is this project's choice.
optimizer "adafactor" "main" { learning_rate = 1e-3 }
