executor "slurm" "big" {
  partition     = "gpu"
  account       = "lm"
  gpus_per_task = 1
  cpus_per_task = 8
  time          = "1-12:00:00"
  extra         = ["--exclude=n17"]
  setup         = "module load cuda"
}

# All stages of the pipeline run there.
defaults "stage" { executor = executor.slurm.big }
