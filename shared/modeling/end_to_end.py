"""Sequences of several lengths, laid end to end: [T, ...] instead of a padded [B, L, ...]."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class EndToEnd:
    """Where the tokens of B sequences lie, T in all, and in a square of the longest, L."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        """lengths: at least one, each at least 1."""
        counts = np.asarray(lengths)
        starts = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(starts, counts)
        self.number, self.longest = len(counts), int(counts.max())
        self._is_square = bool((counts == self.longest).all())
        places = np.repeat(np.arange(self.number) * self.longest, counts) + within
        self._counts = torch.from_numpy(counts).to(device)
        self._places = torch.from_numpy(places).to(device)
        self.positions = torch.from_numpy(within).to(device)
        """[T]: of each token in its own sequence."""
        self.ends = torch.from_numpy(starts + counts - 1).to(device)
        """[B]: each sequence's last token."""

    def each(self, values: Tensor) -> Tensor:
        """[B, ...] -> [T, ...]: to each token its sequence's."""
        return values.repeat_interleave(self._counts, dim=0)

    def squared(self, tokens: Tensor) -> Tensor:
        """[T, ...] -> [B, L, ...], zeros on the right."""
        shape = (self.number, self.longest, *tokens.shape[1:])
        if self._is_square:
            return tokens.view(shape)
        square = tokens.new_zeros(self.number * self.longest, *tokens.shape[1:])
        return square.index_copy_(0, self._places, tokens).view(shape)

    def unsquared(self, square: Tensor) -> Tensor:
        """[B, L, ...] -> [T, ...]."""
        tokens = square.flatten(0, 1)
        return tokens if self._is_square else tokens[self._places]
