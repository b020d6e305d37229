"""The instruction at the beginning of every prompt, computed once.

Every prompt of a ranker begins with the same tokens, and a decoder's keys and values at a token
depend on those before it alone: once the weights no longer change, they are known.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


class KnownPrefix:
    """Keys and values [1, heads, P, D_head] of each layer for P prefix tokens."""

    def __init__(self, decoder: Any, prefix: Tensor) -> None:
        """decoder: a Llama decoder whose weights stay as they are. prefix: embeddings [P, D]."""
        with torch.no_grad():
            cache = decoder(inputs_embeds=prefix[None], use_cache=True).past_key_values
        self.length = len(prefix)
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]

    def cache(self, batch: int) -> DynamicCache:
        """For one forward pass of B sequences that go on from the prefix."""
        return DynamicCache(
            [
                (keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1))
                for keys, values in self._layers
            ]
        )
