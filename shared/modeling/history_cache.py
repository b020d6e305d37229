"""Keys and values of histories that were computed lately, for users who come back with more."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class HistoryCache:
    """What a decoder computed of the items of histories; the longest unused goes first.

    Of a history that grew only the longest is kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        """limit_bytes: of the tensors; 0 keeps nothing."""
        self.limit_bytes = limit_bytes
        self._bytes = 0
        self._held: OrderedDict[bytes, Tensor] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def take(self, history: NDArray[np.int64]) -> Tensor | None:
        """Of the longest known beginning of a history [n]: [2 x layers, k, heads, d], 0 < k <= n.

        It is not held any more: what follows it is computed now, and the whole is put back.
        """
        for length in range(len(history) if self._held else 0, 0, -1):
            found = self._held.pop(history[:length].tobytes(), None)
            if found is not None:
                self._bytes -= found.nbytes
                return found
        return None

    def put(self, history: NDArray[np.int64], computed: Tensor) -> None:
        """computed: [2 x layers, n, heads, d], on its own: no view of anything larger."""
        if not len(history) or computed.nbytes > self.limit_bytes:
            return
        before = self._held.pop(history.tobytes(), None)
        self._held[history.tobytes()] = computed
        self._bytes += computed.nbytes - (0 if before is None else before.nbytes)
        while self._bytes > self.limit_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.nbytes

    def clear(self) -> None:
        self._held.clear()
        self._bytes = 0
