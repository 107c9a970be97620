"""Where cells run: this process, local workers, Slurm, Ray."""
