"""Who asks: users nobody met before, or users who come back with one item more.

The same seed makes the same histories, so every way is asked the same.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

History = NDArray[np.int64]

USERS = 32
AT_ONCE = 256
"""Histories drawn together."""


class Workload(Protocol):
    """An endless supply of users who ask."""

    def asking(self) -> AbstractContextManager[History]:
        """A user for the time of one request: item rows [n] int64, oldest first, all different."""
        ...


class NewUsers:
    """Every request is a user of its own: only the prompt's beginning is common to them."""

    def __init__(self, popularity: NDArray[np.float64], length: int, *, seed: int) -> None:
        """popularity: [I], sums to 1."""
        self._histories = histories(popularity, length, np.random.default_rng(seed))

    @contextmanager
    def asking(self) -> Iterator[History]:
        yield next(self._histories)


class ReturningUsers:
    """32 users in turn; each asks again with one item more than before.

    One whose history has the longest length is followed by a new user.
    """

    def __init__(
        self, popularity: NDArray[np.float64], length: int, longest: int, *, seed: int
    ) -> None:
        """popularity: [I], sums to 1. Histories grow from `length` to `longest` items."""
        self._length = length
        self._whole = histories(popularity, longest, np.random.default_rng(seed))
        self._users = deque((next(self._whole), length) for _ in range(USERS))

    @contextmanager
    def asking(self) -> Iterator[History]:
        """At most 32 users ask at a time."""
        whole, length = self._users.popleft()
        try:
            yield whole[:length]
        finally:
            if length < len(whole):
                self._users.append((whole, length + 1))
            else:
                self._users.append((next(self._whole), self._length))


def histories(
    popularity: NDArray[np.float64], length: int, random: np.random.Generator
) -> Iterator[History]:
    """Endlessly, histories of `length` different rows, drawn by popularity [I]."""
    summed = np.cumsum(popularity)
    while True:
        draws = random.random((AT_ONCE, 4 * length)) * summed[-1]
        for rows in np.searchsorted(summed, draws, side="right"):
            _, first = np.unique(rows, return_index=True)
            history = rows[np.sort(first)][:length]
            if len(history) == length:
                yield history.astype(np.int64)
