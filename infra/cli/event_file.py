"""Events in a file or on standard input, one a line, compressed with gzip or not."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InvalidInputError

STANDARD_INPUT = Path("-")
PIECE_BYTES = 2**20
GZIP = b"\x1f\x8b"


class EventFile:
    def __init__(self, name: str, raw: io.BufferedReader, size: int | None) -> None:
        self._name = name
        self._raw = raw
        self._size = size

    @property
    def fraction(self) -> float:
        """How much was read; of standard input, whose end nobody knows, 0."""
        return self._raw.tell() / self._size if self._size else 0.0

    def pieces(self) -> Iterator[list[bytes]]:
        """The lines, about a mebibyte at a time.

        Raises InvalidInputError: they cannot be read to their end.
        """
        try:
            lines: io.BufferedReader | gzip.GzipFile = self._raw
            if self._raw.peek(len(GZIP)).startswith(GZIP):
                lines = gzip.GzipFile(fileobj=self._raw)
            while piece := lines.readlines(PIECE_BYTES):
                yield piece
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInputError(f"{self._name} cannot be read: {error}") from error


@contextmanager
def open_events(path: Path) -> Iterator[EventFile]:
    """Raises InvalidInputError: there is no such file, or it is not ours to read."""
    if path == STANDARD_INPUT:
        yield EventFile("standard input", io.BufferedReader(sys.stdin.buffer), None)  # type: ignore[arg-type]
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    with raw:
        yield EventFile(str(path), raw, path.stat().st_size)
