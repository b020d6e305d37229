"""Events in a file or on standard input."""

import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.cli import event_file
from infra.cli.event_file import STANDARD_INPUT, open_events
from shared.errors import InvalidInputError

LINES = [b'{"user_id": "u%d", "item_id": "a"}\n' % number for number in range(5)]


def lines_of(path: Path) -> list[bytes]:
    with open_events(path) as source:
        return [line for piece in source.pieces() for line in piece]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_is_read_by_lines_gzipped_or_not_whatever_its_name(tmp_path, compress):
    path = tmp_path / "events.data"
    path.write_bytes(compress(b"".join(LINES)))

    assert lines_of(path) == LINES


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_dash_is_standard_input(monkeypatch, compress):
    given = io.BytesIO(compress(b"".join(LINES)))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=given))

    assert lines_of(STANDARD_INPUT) == LINES


def test_a_file_comes_in_pieces_with_how_much_of_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(event_file, "PIECE_BYTES", len(LINES[0]) + 1)
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"".join(LINES))

    with open_events(path) as source:
        read = [(len(piece), source.fraction) for piece in source.pieces()]

    assert read == [(2, 0.4), (2, 0.8), (1, 1.0)]


def test_of_an_empty_file_there_is_nothing(tmp_path):
    path = tmp_path / "empty"
    path.touch()

    assert lines_of(path) == []


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match="nowhere: No such file"):
        lines_of(tmp_path / "nowhere")


def test_a_gzipped_file_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"".join(LINES))[:-9])

    with pytest.raises(InvalidInputError, match=r"cut\.gz cannot be read"):
        lines_of(path)
