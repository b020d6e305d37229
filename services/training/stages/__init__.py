"""The stages of a training run, one module each, in the order they run."""
