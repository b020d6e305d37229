"""One pretrained model at a time is made in a process."""

import threading

# While transformers makes a model it swaps functions of its own and of torch (initialisation, tied
# weights) for ones that do nothing, for all threads: a model made meanwhile in another thread comes
# out with weights that were never filled. Seeds, too, are the process's.
MODEL_LOADING = threading.RLock()
"""Held while a model is built or read. One thread may take it again."""
