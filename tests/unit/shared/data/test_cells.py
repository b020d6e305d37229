from datetime import UTC, date, datetime

import pytest

from shared.data import cells


@pytest.mark.parametrize(
    ("value", "expected"),
    [("B01", "B01"), ("  B01 ", "B01"), (7, "7"), (7.0, "7"), ("0007", "0007"), ("é中", "é中")],
)
def test_an_id_is_text_or_a_whole_number(value: object, expected: str) -> None:
    assert cells.identifier("item_id", value) == expected


@pytest.mark.parametrize(
    "value",
    [None, "", "  ", float("nan"), 1.5, True, [], {}, "a\nb", "a\x00b", "\ud800", "x" * 201,
     10**300],
)  # fmt: skip
def test_what_is_no_id_is_refused_with_the_field(value: object) -> None:
    with pytest.raises(cells.BadCellError) as caught:
        cells.identifier("item_id", value)
    assert caught.value.field == "item_id"
    assert caught.value.message


def test_an_id_of_200_characters_is_allowed() -> None:
    assert cells.identifier("item_id", "x" * 200) == "x" * 200


MOMENT = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "value",
    [SECONDS, str(SECONDS), float(SECONDS), SECONDS * 1000, str(SECONDS * 1000),
     SECONDS * 1_000_000, SECONDS * 1_000_000_000, "2021-03-04T05:06:07Z", "2021-03-04 05:06:07",
     "2021-03-04T06:06:07+01:00", datetime(2021, 3, 4, 5, 6, 7), MOMENT],
)  # fmt: skip
def test_a_moment_is_read_in_every_unit_and_form(value: object) -> None:
    found = cells.moment("timestamp", value)
    assert found.tzinfo is UTC
    assert abs((found - MOMENT).total_seconds()) < 1e-3


def test_milliseconds_that_look_like_a_date_stay_milliseconds() -> None:
    # 1112101401123 could be read as the date 1112-10-14 and a time.
    assert cells.moment("timestamp", "1112101401123").year == 2005


def test_a_day_is_its_first_moment() -> None:
    assert cells.moment("timestamp", date(2021, 3, 4)) == datetime(2021, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", "soon", "12:30", float("inf"), True, [], -9.9e10])
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(cells.BadCellError, match="timestamp"):
        cells.moment("timestamp", value)


def test_positions_keep_their_order() -> None:
    moments = [cells.position("position", place) for place in (1, "2", 2.5, 10)]
    assert moments == sorted(moments)
    assert len(set(moments)) == 4


@pytest.mark.parametrize("value", [None, "first", 1e300])
def test_what_is_no_position_is_refused(value: object) -> None:
    with pytest.raises(cells.BadCellError):
        cells.position("position", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([["Beauty", "Nails"], ["Beauty", "Gifts"]], ("Beauty", "Nails", "Gifts")),
        ("Action|Sci-Fi", ("Action", "Sci-Fi")),
        ('["A", ["B"]]', ("A", "B")),
        ("[unclosed", ("[unclosed",)),
        (None, ()),
        ("", ()),
    ],
)
def test_categories_are_flattened(value: object, expected: tuple[str, ...]) -> None:
    assert cells.names(value) == expected


def test_text_loses_what_a_database_refuses() -> None:
    assert cells.text("a\x00b\ud800c\nd") == "a b c\nd"
    assert cells.text(["one", None, "two"]) == "one\ntwo"
    assert cells.text("a\x00b").encode() == b"a b"


@pytest.mark.parametrize("value", ["many", float("inf"), "nan?", True, [1]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(cells.BadCellError, match="rating"):
        cells.number("rating", value)


def test_attributes_are_the_scalars_that_are_left() -> None:
    values = {
        "title": "known", "price": 9.5, "stock": 3, "new": True, "colour": "red", "empty": "",
        "none": None, "nan": float("nan"), "inf": float("inf"), "huge": 10**400, "tags": ["a", "b"],
        "ids": [1, 2], "nested": {"a": 1}, "day": date(2020, 1, 2),
    }  # fmt: skip
    assert cells.attributes(values, {"title"}) == {
        "price": 9.5, "stock": 3, "new": True, "colour": "red", "tags": "a, b",
        "day": "2020-01-02",
    }  # fmt: skip
