from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.data.movielens import MovieLensDataset
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.errors import InvalidInputError

Write = Callable[..., Path]
WHEN = datetime.fromtimestamp(881250949, UTC)


def flags(*ones: int) -> str:
    return "|".join("1" if place in ones else "0" for place in range(19))


def test_100k_is_read_in_latin1_with_its_genre_flags(
    write: Write, tmp_path: Path, jpeg: bytes
) -> None:
    rows = [
        f"1|Misérables, Les (1995)|01-Jan-1995||http://x|{flags(8, 12)}",
        "2|Too Short (1995)|",
        f"|No Id (1995)|01-Jan-1995||http://x|{flags(1)}",
        f"3|unknown||||{flags(0)}",
    ]
    write("u.item", "\n".join(rows).encode("latin-1"))
    write("u.data", "196\t1\t3\t881250949\n196\t1\t3\n196\t1\t3\tnever\n22\t3\t1\t881250949\n")
    write("images/1.jpg", jpeg)
    dataset = MovieLensDataset(tmp_path)
    assert list(dataset.items()) == [
        ItemRecord(
            "1", "Misérables, Les (1995)", categories=("Drama", "Musical"),
            attributes={"year": 1995}, image_path=tmp_path / "images/1.jpg",
        ),
        RowError("u.item", 2, None, "3 columns, expected 24"),
        RowError("u.item", 3, "movieId", "missing"),
        ItemRecord("3", "unknown"),
    ]  # fmt: skip
    found = list(dataset.interactions())
    assert [row for row in found if isinstance(row, InteractionRecord)] == [
        InteractionRecord("196", "1", WHEN, 3.0),
        InteractionRecord("22", "3", WHEN, 1.0),
    ]
    assert [(row.line, row.field) for row in found if isinstance(row, RowError)] == [
        (2, None), (3, "timestamp")
    ]  # fmt: skip


def test_1m_is_read_with_its_double_colons(write: Write, tmp_path: Path) -> None:
    write("movies.dat", 'Pokémon "2000": The Movie (2000)'.join(["7::", "::Animation|Children's\n"])
          .encode("latin-1"))  # fmt: skip
    write("ratings.dat", "1::7::5::881250949\n1:7:5:881250949\n")
    dataset = MovieLensDataset(tmp_path)
    assert list(dataset.items()) == [
        ItemRecord(
            "7", 'Pokémon "2000": The Movie (2000)', categories=("Animation", "Children's"),
            attributes={"year": 2000},
        )
    ]  # fmt: skip
    assert list(dataset.interactions()) == [
        InteractionRecord("1", "7", WHEN, 5.0),
        RowError("ratings.dat", 2, None, "1 columns, expected 4"),
    ]


def test_later_sets_are_read_from_csv(write: Write, tmp_path: Path) -> None:
    write(
        "movies.csv",
        'movieId,title,genres\n7,"Net, The (1995)",Action|Crime\n8,Short,(no genres listed)\n',
    )
    write("ratings.csv", "userId,movieId,rating,timestamp\n1,7,4.5,881250949\n1,,4.5,881250949\n")
    dataset = MovieLensDataset(tmp_path)
    assert list(dataset.items()) == [
        ItemRecord(
            "7", "Net, The (1995)", categories=("Action", "Crime"), attributes={"year": 1995}
        ),
        ItemRecord("8", "Short"),
    ]
    assert list(dataset.interactions()) == [
        InteractionRecord("1", "7", WHEN, 4.5),
        RowError("ratings.csv", 3, "movieId", "missing"),
    ]


def test_a_csv_without_the_columns_is_refused(write: Write, tmp_path: Path) -> None:
    write("movies.csv", "movieId,title,genres\n7,Net,Action\n")
    write("ratings.csv", "user,movieId,rating,timestamp\n1,7,4.5,881250949\n")
    with pytest.raises(InvalidInputError, match=r"ratings\.csv: no column userId"):
        MovieLensDataset(tmp_path)
