"""Files that outlive processes: bundles, checkpoints and item images."""
