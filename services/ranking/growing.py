"""Arrays whose rows are overwritten and appended: in constant time, on average."""

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
            # Not zeros: room that nobody has written to takes no memory yet.
            shape = (enough_capacity(len(self._data), wanted), *self._data.shape[1:])
            grown = self._data.new_empty(shape)
            grown[: self._length] = self.rows
            self._data = grown
        self._data[self._length : wanted] = 0
        self._length = wanted
        self._data[rows] = values.to(self._data)


class LayeredTable:
    """A table [n, ...] in two layers: a base that never moves, and the rows that came later.

    The base may be the pages of a file, mapped copy-on-write: what nobody reads takes no memory,
    processes share what they read, and an overwritten row copies its page and not the file.
    """

    def __init__(self, base: Tensor) -> None:
        """The table uses the tensor itself, and writes to it."""
        self._base = base
        self._later = GrowingTable(base.new_empty((0, *base.shape[1:])))

    def __len__(self) -> int:
        return len(self._base) + len(self._later)

    @property
    def layers(self) -> tuple[Tensor, Tensor]:
        """The base [I, ...] and the later rows [n - I, ...]."""
        return self._base, self._later.rows

    def __getitem__(self, rows: Tensor) -> Tensor:
        """A copy [m, ...] of rows [m] int64, on the device of the table."""
        rows = rows.to(self._base.device)
        later = rows >= len(self._base)
        if not len(self._later) or not bool(later.any()):
            return self._base.index_select(0, rows)
        found = self._base.new_empty((len(rows), *self._base.shape[1:]))
        found[~later] = self._base[rows[~later]]
        found[later] = self._later.rows[rows[later] - len(self._base)]
        return found

    @torch.no_grad()
    def put(self, rows: Tensor, values: Tensor) -> None:
        """values: [m, ...] for rows [m] int64. Rows skipped when it grows are zero."""
        rows, values = rows.to(self._base.device), values.to(self._base)
        later = rows >= len(self._base)
        self._base[rows[~later]] = values[~later]
        self._later.put(rows[later] - len(self._base), values[later])


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
