from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.data.recbole import RecBoleDataset
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.errors import InvalidInputError

Write = Callable[..., Path]
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_atomic_files_are_read_by_their_typed_headers(write: Write, tmp_path: Path) -> None:
    write("ml.inter", f"{HEADER}1\t7\t4\t100\n1\t7\n1\t\t4\t100\n1\t7\t4\t\n2\t8\t\t101\n")
    write(
        "ml.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:float\tclass:token_seq\tv:float_seq\n"
        '7\tNet, "The"\t1995\tAction Crime\t0.1 0.2\n'
        "7\tagain\t1995\tAction\t0.1\n"
        "8\tHeat\tsoon\tAction\t0.1\n"
        "9\tUp\t\t'Kids', 'Family Fun'\t\n",
    )
    dataset = RecBoleDataset(tmp_path)
    assert dataset.name == "ml"
    assert list(dataset.items()) == [
        ItemRecord(
            "7", 'Net, "The"', categories=("Action", "Crime"), attributes={"release_year": 1995.0}
        ),
        RowError("ml.item", 3, "item_id", "'7' was given before, on line 2"),
        RowError("ml.item", 4, "release_year", "'soon' is no number"),
        ItemRecord("9", "Up", categories=("Kids", "Family Fun")),
    ]
    assert list(dataset.interactions()) == [
        InteractionRecord("1", "7", datetime.fromtimestamp(100, UTC), 4.0),
        RowError("ml.inter", 3, None, "2 columns, expected 4"),
        RowError("ml.inter", 4, "item_id", "missing"),
        RowError("ml.inter", 5, "timestamp", "missing"),
        InteractionRecord("2", "8", datetime.fromtimestamp(101, UTC)),
    ]


def test_undecodable_bytes_cost_one_line(write: Write, tmp_path: Path) -> None:
    write("ml.inter", HEADER.encode() + b"\xff\t7\t4\t100\n1\t7\t4\t100\n")
    error, event = RecBoleDataset(tmp_path).interactions()
    assert isinstance(error, RowError)
    assert error.line == 2
    assert isinstance(event, InteractionRecord)


def test_interactions_alone_are_a_data_set(write: Write, tmp_path: Path) -> None:
    write("ml.inter", "user_id:token\titem_id:token\nu\tb\nu\ta\n")
    dataset = RecBoleDataset(tmp_path)
    assert list(dataset.items()) == []
    first, second = (row for row in dataset.interactions() if isinstance(row, InteractionRecord))
    assert (first.item_id, second.item_id) == ("b", "a")
    assert first.timestamp < second.timestamp


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id\titem_id:token\n", "column 'user_id': expected one of name:token"),
        ("user_id:text\titem_id:token\n", "column 'user_id:text'"),
        ("user_id:token\tmovie:token\n", "no column item_id; the columns are: user_id, movie"),
        ("", "no header: empty"),
        (b"\xff\n", "no header: byte 1"),
    ],
)
def test_a_wrong_header_is_refused(
    write: Write, tmp_path: Path, header: str | bytes, message: str
) -> None:
    write("ml.inter", header)
    with pytest.raises(InvalidInputError, match=message) as caught:
        RecBoleDataset(tmp_path)
    assert caught.value.fields[0].field == "ml.inter"


def test_several_interaction_files_are_refused(write: Write, tmp_path: Path) -> None:
    write("a.inter", HEADER)
    write("b.inter", HEADER)
    with pytest.raises(InvalidInputError, match=r"several \.inter files: a\.inter, b\.inter"):
        RecBoleDataset(tmp_path)
