"""Arrays that grow in place: a row is appended in constant time, on average."""

from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Scalar = TypeVar("Scalar", bound=np.generic)

GROWTH = 1.5
SMALLEST_GROWTH = 64


def enough_capacity(present: int, wanted: int) -> int:
    """A capacity of at least `wanted` that makes copies rare."""
    return max(wanted, int(present * GROWTH), present + SMALLEST_GROWTH)


class GrowingTable:
    """A tensor [n, ...] whose rows are overwritten and appended."""

    def __init__(self, rows: Tensor) -> None:
        """The table uses the tensor itself until it has to grow."""
        self._data = rows
        self._length = len(rows)

    def __len__(self) -> int:
        return self._length

    @property
    def rows(self) -> Tensor:
        """A view [n, ...] of the present rows."""
        return self._data[: self._length]

    @torch.no_grad()
    def put(self, rows: Tensor, values: Tensor) -> None:
        """values: [m, ...] for rows [m] int64. Rows skipped when it grows are zero."""
        wanted = max(self._length, int(rows.max()) + 1) if len(rows) else self._length
        if wanted > len(self._data):
            shape = (enough_capacity(len(self._data), wanted), *self._data.shape[1:])
            grown = self._data.new_zeros(shape)
            grown[: self._length] = self.rows
            self._data = grown
        self._length = wanted
        self._data[rows] = values.to(self._data)


class GrowingArray(Generic[Scalar]):
    """A flat numpy array that is appended to."""

    def __init__(self, values: NDArray[Scalar]) -> None:
        self._data = values.copy()
        self._length = len(values)

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> NDArray[Scalar]:
        """A view [n] of the present values; writes go through."""
        return self._data[: self._length]

    def append(self, value: Scalar) -> None:
        if self._length == len(self._data):
            grown = np.zeros(enough_capacity(self._length, self._length + 1), self._data.dtype)
            grown[: self._length] = self._data
            self._data = grown
        self._data[self._length] = value
        self._length += 1
