"""Rows of text tables, JSON lines and Parquet files, as streams that survive broken rows."""

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shared.data.dataset import Progress
from shared.data.records import RowError
from shared.errors import InvalidInputError

MAX_LINE_BYTES = 16 * 2**20
# A quoted cell may hold line breaks, but one stray quote must not swallow the rest of the file.
MAX_LINES_OF_A_ROW = 200
_LINES_A_REPORT = 1000
_PARQUET_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text without its end; `number` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row by column name, and the place it stands at."""

    file: str
    line: int
    values: Mapping[str, object]


def utf8(raw: bytes) -> str:
    return raw.decode("utf-8")


def utf8_or_latin1(raw: bytes) -> str:
    """For old files that are one or the other and do not say which."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_lines(
    path: Path, file: str, progress: Progress, decode: Callable[[bytes], str] = utf8
) -> Iterator[Line | RowError]:
    """The lines of a file, unpacked where it ends in `.gz`.

    A line that cannot be decoded or is longer than 16 MiB is reported and passed over; a compressed
    file that breaks off is reported at the line it breaks at.
    """
    count = 0
    with path.open("rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                count += 1
                if count % _LINES_A_REPORT == 0:
                    progress.reach(str(path), raw.tell())
                if len(line) > MAX_LINE_BYTES:
                    while not line.endswith(b"\n") and line:
                        line = stream.readline(MAX_LINE_BYTES)
                    message = f"the line is longer than {MAX_LINE_BYTES} bytes"
                    yield RowError(file, count, None, message)
                    continue
                try:
                    decoded = decode(line)
                except UnicodeDecodeError as error:
                    message = f"byte {error.start + 1} of the line is not {error.encoding}"
                    yield RowError(file, count, None, message)
                    continue
                yield Line(count, decoded.rstrip("\r\n").removeprefix("\ufeff"))
        except (EOFError, OSError, zlib.error) as error:
            yield RowError(file, count + 1, None, f"the file breaks off here: {error}")
        progress.reach(str(path), raw.tell())


def json_rows(
    lines: Iterator[Line | RowError], file: str, parse: Callable[[str], object] = json.loads
) -> Iterator[Row | RowError]:
    """One JSON object a line; blank lines are passed over.

    `parse` may raise ValueError or RecursionError for text that is no object.
    """
    for line in lines:
        if isinstance(line, RowError):
            yield line
            continue
        if not line.text.strip():
            continue
        try:
            values = parse(line.text)
        except (ValueError, RecursionError) as error:
            yield RowError(file, line.number, None, f"not readable as JSON: {error}")
            continue
        if isinstance(values, dict):
            yield Row(file, line.number, values)
        else:
            yield RowError(file, line.number, None, "not a JSON object")


def delimited_rows(
    lines: Iterator[Line | RowError],
    file: str,
    delimiter: str,
    columns: Sequence[str] | None = None,
    quoted: bool = True,
) -> Iterator[Row | RowError]:
    """The rows of a table with one delimiter; the first row names the columns if none are given.

    With `quoted`, cells may stand in double quotes and then hold delimiters and line breaks.
    """
    waiting: deque[Line | RowError] = deque()

    def take() -> Line | RowError | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := take()) is not None:
        if isinstance(line, RowError):
            yield line
            continue
        if not line.text.strip():
            continue
        if not quoted or '"' not in line.text:
            cells = line.text.split(delimiter)
        else:
            read = _quoted_cells(line, file, delimiter, take, waiting)
            if isinstance(read, RowError):
                yield read
                continue
            cells = read
        if columns is None:
            columns = [cell.strip() for cell in cells]
        elif len(cells) != len(columns):
            message = f"{len(cells)} columns, expected {len(columns)}"
            yield RowError(file, line.number, None, message)
        else:
            yield Row(file, line.number, dict(zip(columns, cells, strict=True)))


def _quoted_cells(
    first: Line,
    file: str,
    delimiter: str,
    take: Callable[[], Line | RowError | None],
    waiting: deque[Line | RowError],
) -> list[str] | RowError:
    """The cells of a row that may go on over the next lines; they are given back if it does not."""
    whole = first.text
    following: list[Line | RowError] = []
    while True:
        try:
            return next(csv.reader(io.StringIO(whole), delimiter=delimiter, strict=True))
        except csv.Error as error:
            message = str(error)
        unclosed = message.startswith("unexpected end")
        if unclosed and len(following) < MAX_LINES_OF_A_ROW and (line := take()) is not None:
            following.append(line)
            if isinstance(line, Line):
                whole += "\n" + line.text
                continue
        waiting.extendleft(reversed(following))
        cause = "a quote is opened and not closed" if unclosed else message
        return RowError(file, first.number, None, cause)


def parquet_rows(path: Path, file: str, progress: Progress) -> Iterator[Row | RowError]:
    """The rows of a Parquet file, batch by batch; `line` is the number of the row."""
    size, count = path.stat().st_size, 0
    try:
        with pq.ParquetFile(path) as parquet:
            total = max(parquet.metadata.num_rows, 1)
            for batch in parquet.iter_batches(batch_size=_PARQUET_BATCH):
                for values in batch.to_pylist():
                    count += 1
                    yield Row(file, count, values)
                progress.reach(str(path), size * count // total)
    except (pa.ArrowException, OSError) as error:
        yield RowError(file, count + 1, None, f"the Parquet file cannot be read: {error}")


def require_columns(
    rows: Iterable[Row | RowError], file: str, needed: Collection[str | tuple[str, ...]]
) -> None:
    """Look at the first row that can be read: are the needed columns there?

    An entry of `needed` is a column, or a tuple of which one is enough.

    Raises:
        InvalidInputError: a column is missing; no row of such a table could be used.
    """
    first = next((row for row in rows if isinstance(row, Row)), None)
    if first is None:
        return
    for entry in needed:
        options = (entry,) if isinstance(entry, str) else entry
        if not any(option in first.values for option in options):
            found = ", ".join(first.values)
            raise InvalidInputError.of(
                file, f"no column {' or '.join(options)}; the columns are: {found}"
            )
