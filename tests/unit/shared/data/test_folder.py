import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.data.folder import FolderDataset
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.sequences import build_sequences
from shared.errors import InvalidInputError

Write = Callable[..., Path]
ITEM = {
    "item_id": 1, "title": "Nail\nLacquer", "description": "Red.", "brand": "OPI", "price": 9.5,
    "categories": [["Beauty", "Nails"], ["Beauty"]], "ids": [1, 2],
}  # fmt: skip


def test_json_lines_are_read_and_broken_ones_reported(write: Write, tmp_path: Path) -> None:
    lines = [
        json.dumps(ITEM).encode(),
        b'{"item_id": 2, "title": ',
        b'{"title": "no id"}',
        b'{"item_id": 3, "title": "\xff"}',
        b'{"item_id": "1", "title": "again"}',
        b'{"item_id": 4}',
    ]
    write("items.jsonl.gz", b"\n".join(lines))
    found = list(FolderDataset(tmp_path).items())
    assert [(row.line, row.field) for row in found if isinstance(row, RowError)] == [
        (2, None), (3, "item_id"), (4, None), (5, "item_id")
    ]  # fmt: skip
    assert all(row.file == "items.jsonl.gz" for row in found if isinstance(row, RowError))
    assert [row for row in found if isinstance(row, ItemRecord)] == [
        ItemRecord("1", "Nail Lacquer", "Red.", ("Beauty", "Nails"), "OPI", {"price": 9.5}),
        ItemRecord("4", ""),
    ]


@pytest.mark.parametrize(("name", "mark"), [("items.csv", ","), ("items.tsv.gz", "\t")])
def test_delimited_items_are_read(write: Write, tmp_path: Path, name: str, mark: str) -> None:
    rows = [("item_id", "title", "categories", "stock"), ("a", "Mug", "Kitchen|Cups", "3")]
    write(name, "\n".join(mark.join(row) for row in rows))
    assert list(FolderDataset(tmp_path).items()) == [
        ItemRecord("a", "Mug", categories=("Kitchen", "Cups"), attributes={"stock": "3"})
    ]


def test_parquet_is_read(tmp_path: Path) -> None:
    items = pa.table({"item_id": [1, None], "title": ["Mug", "?"], "categories": [["A"], []]})
    pq.write_table(items, tmp_path / "items.parquet")
    when = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    interactions = pa.table({"user_id": ["u", "u"], "item_id": [1, 1], "timestamp": [when, None]})
    pq.write_table(interactions, tmp_path / "interactions.parquet")
    dataset = FolderDataset(tmp_path)
    assert list(dataset.items()) == [
        ItemRecord("1", "Mug", categories=("A",)),
        RowError("items.parquet", 2, "item_id", "missing"),
    ]
    assert list(dataset.interactions()) == [
        InteractionRecord("u", "1", when),
        RowError("interactions.parquet", 2, "timestamp", "missing"),
    ]
    assert dataset.progress.fraction == 1.0


def test_pictures_are_found_by_id_or_by_name(write: Write, tmp_path: Path, jpeg: bytes) -> None:
    write("images/a.jpg", jpeg)
    write("other/b.png", jpeg)
    items = [
        {"item_id": "a"},
        {"item_id": "b", "image": "other/b.png"},
        {"item_id": "c", "image": "https://example.org/c.jpg"},
        {"item_id": "d"},
    ]
    write("items.jsonl", "\n".join(map(json.dumps, items)))
    found = {item.item_id: item for item in FolderDataset(tmp_path).items()}
    assert found["a"].read_image() == jpeg
    assert found["b"].read_image() == jpeg
    assert found["c"].image_url == "https://example.org/c.jpg"
    assert [found[name].has_image for name in "abcd"] == [True, True, False, False]
    assert found["d"].read_image() is None


@pytest.mark.parametrize("named", ["images/gone.jpg", "../secret.jpg", "/etc/passwd", "a\u0000b"])
def test_a_picture_that_is_not_in_the_folder_is_reported_and_the_item_kept(
    write: Write, tmp_path: Path, named: str
) -> None:
    folder = tmp_path / "set"
    write("secret.jpg", b"secret")
    write("set/items.jsonl", json.dumps({"item_id": "a", "image": named}))
    problem, item = FolderDataset(folder).items()
    assert isinstance(problem, RowError)
    assert (problem.line, problem.field, problem.skipped) == (1, "image", False)
    assert isinstance(item, ItemRecord)
    assert not item.has_image


def test_a_picture_that_vanishes_is_a_typed_error(
    write: Write, tmp_path: Path, jpeg: bytes
) -> None:
    picture = write("images/a.jpg", jpeg)
    write("items.jsonl", '{"item_id": "a"}')
    (item,) = FolderDataset(tmp_path).items()
    picture.unlink()
    with pytest.raises(InvalidInputError, match=r"'a'.*cannot be read"):
        item.read_image()


def test_interactions_are_read_and_broken_rows_reported(write: Write, tmp_path: Path) -> None:
    write("items.jsonl", "")
    write(
        "interactions.tsv",
        "user_id\titem_id\ttimestamp\trating\tevent_type\n"
        "1\t7\t100\t4.5\tview\n"
        "1\t\t100\t4.5\tview\n"
        "1\t7\tnever\t4.5\tview\n"
        "1\t7\t100\tgood\tview\n"
        "1\t7\n"
        "2\t8\t101\t\t\n",
    )
    found = list(FolderDataset(tmp_path).interactions())
    assert [(row.line, row.field) for row in found if isinstance(row, RowError)] == [
        (3, "item_id"), (4, "timestamp"), (5, "rating"), (6, None)
    ]  # fmt: skip
    assert [row for row in found if isinstance(row, InteractionRecord)] == [
        InteractionRecord("1", "7", datetime.fromtimestamp(100, UTC), 4.5, "view"),
        InteractionRecord("2", "8", datetime.fromtimestamp(101, UTC)),
    ]


def test_a_kind_of_event_that_there_is_not_and_a_rating_without_one_are_reported(
    write: Write, tmp_path: Path
) -> None:
    write("items.jsonl", "")
    write(
        "interactions.csv",
        "user_id,item_id,timestamp,rating,event_type\n"
        "1,7,100,, purchase \n"
        "1,7,101,,sneeze\n"
        "1,7,102,,rating\n"
        "1,7,103,2,rating\n",
    )
    found = list(FolderDataset(tmp_path).interactions())
    errors = [row for row in found if isinstance(row, RowError)]
    assert [(row.line, row.field) for row in errors] == [(3, "event_type"), (4, "rating")]
    assert "'sneeze' is none of interaction, view" in errors[0].message
    kept = [row for row in found if isinstance(row, InteractionRecord)]
    assert [(row.event_type, row.rating) for row in kept] == [("purchase", None), ("rating", 2.0)]


def test_positions_stand_in_for_times(write: Write, tmp_path: Path) -> None:
    write("items.jsonl", "")
    write("interactions.csv", "user_id,item_id,position\nu,c,3\nu,a,1\nu,b,2\n")
    found = [row for row in FolderDataset(tmp_path).interactions() if not isinstance(row, RowError)]
    assert build_sequences(found) == {"u": ["a", "b", "c"]}


def test_without_time_and_position_the_order_of_the_file_counts(
    write: Write, tmp_path: Path
) -> None:
    write("items.jsonl", "")
    rows = [{"user_id": "u", "item_id": name} for name in "cab"]
    write("interactions.jsonl", "\n".join(map(json.dumps, rows)))
    found = [row for row in FolderDataset(tmp_path).interactions() if not isinstance(row, RowError)]
    assert build_sequences(found) == {"u": ["c", "a", "b"]}


def test_a_catalogue_without_interactions_is_a_data_set(write: Write, tmp_path: Path) -> None:
    write("items.jsonl", '{"item_id": "a"}')
    assert list(FolderDataset(tmp_path).interactions()) == []


def test_a_table_without_ids_is_refused(write: Write, tmp_path: Path) -> None:
    write("items.csv", "id,title\n1,a\n")
    with pytest.raises(InvalidInputError, match=r"items\.csv: no column item_id"):
        FolderDataset(tmp_path)


def test_two_tables_of_a_name_are_refused(write: Write, tmp_path: Path) -> None:
    write("items.csv", "item_id\n1\n")
    write("items.jsonl", "")
    with pytest.raises(InvalidInputError, match="more than one items table"):
        FolderDataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "items", "images", "users", "interactions"),
    [
        ("ml-100k-posters", 1682, 1664, 943, 100_000),
        ("amazon-beauty", 12_101, 0, 22_363, 198_502),
    ],
)
def test_real_data_are_read_whole(
    data_dir: Path, name: str, items: int, images: int, users: int, interactions: int
) -> None:
    dataset = FolderDataset(data_dir / name)
    records = list(dataset.items())
    assert not [record for record in records if isinstance(record, RowError)]
    assert len(records) == items
    assert sum(record.has_image for record in records) == images
    events = list(dataset.interactions())
    assert not [event for event in events if isinstance(event, RowError)]
    assert len(events) == interactions
    assert len({event.user_id for event in events}) == users
