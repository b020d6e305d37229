import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.data.amazon import AmazonDataset, parse_line
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.errors import InvalidInputError

Write = Callable[..., Path]


def test_the_set_of_2014_with_its_python_literals_is_read(write: Write, tmp_path: Path) -> None:
    item = {
        "asin": "B01", "title": "Nail &amp; Hand Cream", "price": 9.5, "brand": "OPI",
        "imUrl": "http://example.org/1.jpg", "related": {"also_bought": ["B02"]},
        "categories": [["Beauty", "Nails"]], "description": "It's soft.", "salesRank": {"x": 1},
    }  # fmt: skip
    write(
        "meta_Beauty.json.gz",
        f"{item!r}\n"
        "{'title': 'no id'}\n"
        "{'asin': __import__('os').getcwd()}\n"
        "{'asin': 'B03', 'title': \n"
        "{'asin': 'B01'}\n"
        "{'asin': 'B04'}\n",
    )
    review = {
        "reviewerID": "A1", "asin": "B01", "overall": 5.0, "unixReviewTime": 1370000000,
        "reviewTime": "05 31, 2013", "reviewText": "good", "helpful": [0, 0],
    }  # fmt: skip
    write("reviews_Beauty_5.json.gz", f"{json.dumps(review)}\n{{broken\n{json.dumps(review)}")
    dataset = AmazonDataset(tmp_path)
    items = list(dataset.items())
    assert [(row.line, row.field) for row in items if isinstance(row, RowError)] == [
        (2, "asin"), (3, None), (4, None), (5, "item_id")
    ]  # fmt: skip
    assert [row for row in items if isinstance(row, ItemRecord)] == [
        ItemRecord(
            "B01", "Nail & Hand Cream", "It's soft.", ("Beauty", "Nails"), "OPI", {"price": 9.5},
            image_url="http://example.org/1.jpg",
        ),
        ItemRecord("B04", ""),
    ]  # fmt: skip
    first, error, last = dataset.interactions()
    when = datetime.fromtimestamp(1370000000, UTC)
    assert first == last == InteractionRecord("A1", "B01", when, 5.0)
    assert isinstance(error, RowError)
    assert (error.file, error.line) == ("reviews_Beauty_5.json.gz", 2)
    assert dataset.progress.fraction == 1.0


def test_the_set_of_2018_is_read(write: Write, tmp_path: Path, jpeg: bytes) -> None:
    item = {
        "asin": "B01", "title": "Cream", "price": "$1,009.50", "brand": "OPI",
        "rank": "9 in Beauty",
        "category": ["Beauty", "Nails"], "description": ["Soft.", "Warm."], "feature": ["Vegan"],
        "imageURLHighRes": ["https://example.org/1.jpg"], "date": "", "also_buy": ["B02"],
    }  # fmt: skip
    write("meta_Beauty.json", json.dumps(item))
    write("images/B01.jpg", jpeg)
    review = {"reviewerID": "A1", "asin": "B01", "overall": 4.0, "unixReviewTime": 1500000000}
    write("Beauty.json", json.dumps(review))
    dataset = AmazonDataset(tmp_path)
    (found,) = dataset.items()
    assert isinstance(found, ItemRecord)
    assert found.description == "Soft.\nWarm.\nVegan"
    assert found.categories == ("Beauty", "Nails")
    assert found.attributes == {"price": 1009.5}
    assert found.image_url == "https://example.org/1.jpg"
    assert found.read_image() == jpeg
    (event,) = dataset.interactions()
    assert event == InteractionRecord("A1", "B01", datetime.fromtimestamp(1500000000, UTC), 4.0)


def test_the_set_of_2023_goes_by_parent_asin(write: Write, tmp_path: Path) -> None:
    item = {
        "parent_asin": "P1", "main_category": "All Beauty", "title": "Cream", "store": "OPI",
        "price": None, "features": ["Vegan"], "description": [], "categories": [],
        "average_rating": 4.5, "images": [
            {"thumb": "https://t", "large": "https://l", "hi_res": None}
        ],
        "details": {"Size": "5"},
    }  # fmt: skip
    write("meta_All_Beauty.jsonl", json.dumps(item))
    review = {
        "user_id": "A1", "asin": "B01", "parent_asin": "P1", "rating": 3.0,
        "timestamp": 1600000000123,
    }  # fmt: skip
    rows = [review, review | {"timestamp": "soon"}, review | {"user_id": None}]
    write("All_Beauty.jsonl", "\n".join(map(json.dumps, rows)))
    dataset = AmazonDataset(tmp_path)
    assert list(dataset.items()) == [
        ItemRecord(
            "P1", "Cream", "Vegan", ("All Beauty",), "OPI", {"average_rating": 4.5},
            image_url="https://l",
        )
    ]  # fmt: skip
    first, *errors = dataset.interactions()
    assert isinstance(first, InteractionRecord)
    assert (first.user_id, first.item_id, first.rating) == ("A1", "P1", 3.0)
    assert first.timestamp.year == 2020
    assert [error.field for error in errors if isinstance(error, RowError)] == [
        "timestamp", "user_id"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line", ["{'a': open('x')}", "{[]: 1}", "{'a': " * 3000, "open('x')", "{'a': 1}" + " " * 2**20]
)
def test_only_plain_literals_are_taken(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_line(line)


def test_two_files_of_reviews_are_refused(write: Write, tmp_path: Path) -> None:
    for name in ("meta_Beauty.json", "Beauty.json", "Beauty_5.json"):
        write(name, "")
    with pytest.raises(
        InvalidInputError, match=r"several files of reviews: Beauty\.json, Beauty_5"
    ):
        AmazonDataset(tmp_path)
