"""Sets of rows that grow: few rows as a list, many as a bitmap, whichever is smaller."""

from array import array

import numpy as np
from numpy.typing import NDArray

from services.ranking.growing import enough_capacity

LIST_AT_MOST = 256
"""Below this a list is always as good."""
ROWS_PER_ENTRY = 32
"""A row takes 32 bits in a list, and one bit of each row in a bitmap."""


class RowSet:
    """Rows below 2^31, each once."""

    def __init__(self) -> None:
        self._list: array[int] | None = array("i")
        self._bits: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._count

    @property
    def bytes(self) -> int:
        """Memory that the rows take, room to grow included."""
        listed = 0 if self._list is None else self._list.itemsize * len(self._list)
        return listed + self._bits.nbytes

    def add(self, row: int) -> None:
        """A row that is not there."""
        self._count += 1
        self._size = max(self._size, row + 1)
        if self._list is None:
            self._set(row)
            return
        self._list.append(row)
        if self._count > max(LIST_AT_MOST, self._size // ROWS_PER_ENTRY):
            self._become_bitmap()

    def discard(self, row: int) -> None:
        """A row that is there."""
        self._count -= 1
        if self._list is None:
            self._bits[row >> 3] &= ~_bit(row)
        else:
            self._list.remove(row)

    def write_to(self, mask: NDArray[np.bool_]) -> None:
        """Set the rows in [n] bool; those from n on are left out."""
        if self._list is not None:
            rows = np.frombuffer(self._list, dtype=np.int32)
            mask[rows[rows < len(mask)]] = True
        elif len(self._bits):
            bits = np.unpackbits(self._bits, count=min(len(mask), 8 * len(self._bits)))
            mask[: len(bits)] |= bits.view(np.bool_)

    def _set(self, row: int) -> None:
        wanted = (row >> 3) + 1
        if wanted > len(self._bits):
            grown = np.zeros(enough_capacity(len(self._bits), wanted), dtype=np.uint8)
            grown[: len(self._bits)] = self._bits
            self._bits = grown
        self._bits[row >> 3] |= _bit(row)

    def _become_bitmap(self) -> None:
        mask = np.zeros(self._size, dtype=np.bool_)
        self.write_to(mask)
        self._bits, self._list = np.packbits(mask), None


def _bit(row: int) -> np.uint8:
    """The row's bit of its byte, in the order of `np.packbits`."""
    return np.uint8(0x80 >> (row & 7))
