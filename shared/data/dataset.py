"""What every source of items and interactions looks like."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from shared.data.records import InteractionRecord, ItemRecord, RowError


class Progress:
    """How far a data set is read: `done` of `total` units.

    The unit is a byte on disk for files (compressed bytes, so that it costs nothing to know) and a
    record for the synthetic shop. Reading a part a second time starts that part again.
    """

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    @classmethod
    def of_files(cls, *paths: Path | None) -> "Progress":
        progress = cls()
        for path in paths:
            if path is not None:
                progress.expect(str(path), path.stat().st_size)
        return progress

    def expect(self, part: str, total: int) -> None:
        self._total[part] = total

    def reach(self, part: str, done: int) -> None:
        self._done[part] = done

    @property
    def done(self) -> int:
        return sum(self._done.values())

    @property
    def total(self) -> int:
        return sum(self._total.values())

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


class Dataset(Protocol):
    """A source that is read as a stream, any number of times.

    A row that cannot be read comes as a `RowError` in the place of its record, and the stream goes
    on. An item id given twice is a `RowError` as well: the first one counts.
    """

    kind: str
    name: str
    progress: Progress

    def items(self) -> Iterator[ItemRecord | RowError]: ...

    def interactions(self) -> Iterator[InteractionRecord | RowError]: ...
