"""Memory for the scores of a batch, kept from one batch to the next.

A fresh [32, 1M] matrix is 128 MB that the system has to map and clear: an eighth of the time of the
product that fills it.
"""

import torch
from torch import Tensor


class Scratch:
    """Used by one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._data = torch.empty(0, device=device)

    def matrix(self, rows: int, columns: int) -> Tensor:
        """[rows, columns] float32, of any content; it is the former one's memory."""
        if self._data.numel() < rows * columns:
            # Freed first: two of them would be twice the memory.
            self._data = self._data.new_empty(0)
            self._data = self._data.new_empty(rows * columns)
        return self._data[: rows * columns].view(rows, columns)
