import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.data import tables
from shared.data.dataset import Progress
from shared.data.records import RowError
from shared.errors import InvalidInputError

Write = Callable[..., Path]


def read_csv(path: Path, quoted: bool = True) -> list[tables.Row | RowError]:
    lines = tables.read_lines(path, path.name, Progress())
    return list(tables.delimited_rows(lines, path.name, ",", quoted=quoted))


def places(rows: list[tables.Row | RowError]) -> list[tuple[str, int]]:
    return [("error" if isinstance(row, RowError) else "row", row.line) for row in rows]


def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_breaks(write: Write) -> None:
    rows = read_csv(write("a.csv", 'id,title\n1,"a, ""b""\nc"\n\n2,d\n'))
    assert rows == [
        tables.Row("a.csv", 2, {"id": "1", "title": 'a, "b"\nc'}),
        tables.Row("a.csv", 5, {"id": "2", "title": "d"}),
    ]


def test_a_stray_quote_costs_its_own_row_only(write: Write) -> None:
    rows = read_csv(write("a.csv", 'id,title\n1,"open\n2,b\n3,c\n'))
    assert places(rows) == [("error", 2), ("row", 3), ("row", 4)]
    assert "quote" in str(rows[0])


def test_a_stray_quote_does_not_swallow_a_long_file(write: Write) -> None:
    body = "".join(f"{n},b\n" for n in range(1000))
    rows = read_csv(write("a.csv", f'id,title\nx,"open\n{body}'))
    assert len(rows) == 1001
    assert sum(isinstance(row, RowError) for row in rows) == 1


def test_an_undecodable_line_within_an_open_quote_is_reported_too(write: Write) -> None:
    rows = read_csv(write("a.csv", b'id,title\n1,"open\n\xff,b\n3,c\n'))
    assert places(rows) == [("error", 2), ("error", 3), ("row", 4)]


def test_a_quote_within_a_cell_is_a_character(write: Write) -> None:
    rows = read_csv(write("a.csv", 'id,title\n1,5" screen\n'))
    assert rows == [tables.Row("a.csv", 2, {"id": "1", "title": '5" screen'})]


def test_text_after_a_closed_quote_is_an_error(write: Write) -> None:
    assert places(read_csv(write("a.csv", 'id,title\n1,"a"b\n2,c\n'))) == [("error", 2), ("row", 3)]


def test_wrong_column_counts_and_undecodable_bytes_are_reported_by_line(write: Write) -> None:
    rows = read_csv(write("a.csv", b"id,title\n1,a,b\n2\n\xff\xfe,c\n3,d\n"))
    assert places(rows) == [("error", 2), ("error", 3), ("error", 4), ("row", 5)]
    assert "3 columns, expected 2" in str(rows[0])
    assert str(rows[2]).startswith("a.csv:4: byte 1 of the line is not utf-8")


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(write: Write) -> None:
    rows = read_csv(write("a.csv", b"\xef\xbb\xbfid,title\r\n1,a\r\n"))
    assert rows == [tables.Row("a.csv", 2, {"id": "1", "title": "a"})]


def test_json_lines_that_are_no_objects_are_reported(write: Write) -> None:
    deep = "[" * 200_000
    path = write("a.jsonl", f'{{"a": 1}}\n{{"a": \n[1]\n\n"x"\n{deep}\n{{"a": 2}}\n')
    rows = list(tables.json_rows(tables.read_lines(path, "a.jsonl", Progress()), "a.jsonl"))
    assert places(rows) == [
        ("row", 1), ("error", 2), ("error", 3), ("error", 5), ("error", 6), ("row", 7)
    ]  # fmt: skip


def test_a_gzip_stream_that_breaks_off_is_reported_where_it_breaks(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f"{n * n * n}\n" for n in range(5000)).encode())
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    *lines, last = tables.read_lines(path, "a.csv.gz", Progress())
    assert isinstance(last, RowError)
    assert len(lines) > 0
    assert last.line == len(lines) + 1
    assert "breaks off" in last.message


def test_a_file_that_only_claims_to_be_gzip_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"id,title\n1,a\n")
    (error,) = tables.read_lines(path, "a.csv.gz", Progress())
    assert isinstance(error, RowError)


def test_an_endless_line_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n" + b"x" * 1000 + b"\n" + b"y" * 100 + b"\nz\n")
    rows = read_csv(path)
    assert places(rows) == [("error", 2), ("error", 3), ("row", 4)]


def test_a_broken_parquet_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet")
    (error,) = tables.parquet_rows(path, "a.parquet", Progress())
    assert isinstance(error, RowError)
    assert "Parquet" in error.message


def test_progress_ends_at_the_size_of_the_file(write: Write) -> None:
    path = write("a.csv.gz", "id\n" + "1\n" * 5000)
    progress = Progress.of_files(path)
    assert progress.fraction == 0.0
    seen = [progress.fraction for _ in tables.read_lines(path, "a", progress)]
    assert seen == sorted(seen)
    assert progress.done == progress.total == path.stat().st_size


def test_a_missing_column_is_named_with_those_there_are(write: Write) -> None:
    rows = read_csv(write("a.csv", "id,title\n1,a\n"))
    tables.require_columns(rows, "a.csv", ["id", ("name", "title")])
    with pytest.raises(InvalidInputError, match=r"a\.csv: no column item_id; .* id, title"):
        tables.require_columns(rows, "a.csv", ["item_id"])
