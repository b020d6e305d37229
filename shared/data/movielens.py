"""The MovieLens sets: 100k (u.data), 1m and 10m (ratings.dat), 20m and later (ratings.csv).

Pictures, which the sets do not bring, are taken from `images/<movie id>.*`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.data import cells
from shared.data.dataset import Progress
from shared.data.reading import images_by_id, read_interactions, read_items
from shared.data.records import Attribute, InteractionRecord, ItemRecord, RowError
from shared.data.tables import Row, delimited_rows, read_lines, require_columns, utf8_or_latin1
from shared.errors import InvalidInputError

LOOKED_FOR = "u.data with u.item, ratings.dat with movies.dat, or ratings.csv with movies.csv"

_RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
_MOVIE_COLUMNS = ("movieId", "title", "genres")
_GENRES_OF_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
_MOVIE_COLUMNS_OF_100K = (
    "movieId", "title", "release_date", "video_release_date", "imdb_url", *_GENRES_OF_100K
)  # fmt: skip
_NO_GENRES = {"(no genres listed)", "unknown"}
_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True)
class Layout:
    """The names, delimiters and columns of one generation of the sets (None: a header line)."""

    ratings: str
    movies: str
    rating_delimiter: str
    movie_delimiter: str
    rating_columns: Sequence[str] | None
    movie_columns: Sequence[str] | None
    quoted: bool = False


LAYOUTS = (
    Layout("u.data", "u.item", "\t", "|", _RATING_COLUMNS, _MOVIE_COLUMNS_OF_100K),
    Layout("ratings.dat", "movies.dat", "::", "::", _RATING_COLUMNS, _MOVIE_COLUMNS),
    Layout("ratings.csv", "movies.csv", ",", ",", None, None, quoted=True),
)


def find_layout(root: Path) -> Layout | None:
    """Which generation lies in the folder, if any."""
    for layout in LAYOUTS:
        if (root / layout.ratings).is_file() and (root / layout.movies).is_file():
            return layout
    return None


class MovieLensDataset:
    """One MovieLens set, as its archive unpacks."""

    kind = "movielens"

    def __init__(self, root: Path) -> None:
        """
        Raises:
            InvalidInputError: the two files are not there, or a column is missing.
        """
        layout = find_layout(root)
        if layout is None:
            raise InvalidInputError.of("path", f"{root} holds no {LOOKED_FOR}")
        self.name = root.resolve().name
        self._layout = layout
        self._movies, self._ratings = root / layout.movies, root / layout.ratings
        self._images = root / "images"
        require_columns(self._movie_rows(Progress()), layout.movies, ("movieId", "title"))
        require_columns(self._rating_rows(Progress()), layout.ratings, _RATING_COLUMNS)
        self.progress = Progress.of_files(self._movies, self._ratings)

    def items(self) -> Iterator[ItemRecord | RowError]:
        images = images_by_id(self._images)
        return read_items(self._movie_rows(self.progress), lambda row: _item(row.values, images))

    def interactions(self) -> Iterator[InteractionRecord | RowError]:
        rows = self._rating_rows(self.progress)
        return read_interactions(rows, lambda row: _interaction(row.values))

    def _movie_rows(self, progress: Progress) -> Iterator[Row | RowError]:
        layout = self._layout
        lines = read_lines(self._movies, layout.movies, progress, utf8_or_latin1)
        return delimited_rows(
            lines, layout.movies, layout.movie_delimiter, layout.movie_columns, layout.quoted
        )

    def _rating_rows(self, progress: Progress) -> Iterator[Row | RowError]:
        layout = self._layout
        lines = read_lines(self._ratings, layout.ratings, progress)
        return delimited_rows(
            lines, layout.ratings, layout.rating_delimiter, layout.rating_columns, layout.quoted
        )


def _item(values: Mapping[str, object], images: Mapping[str, Path]) -> ItemRecord:
    item_id = cells.identifier("movieId", values["movieId"])
    title = cells.line(values["title"])
    genres = (
        cells.names(values["genres"])
        if "genres" in values
        else tuple(genre for genre in _GENRES_OF_100K if values.get(genre) == "1")
    )
    year = _YEAR.search(title)
    others: dict[str, Attribute] = {"year": int(year.group(1))} if year else {}
    return ItemRecord(
        item_id=item_id,
        title=title,
        categories=tuple(genre for genre in genres if genre not in _NO_GENRES),
        attributes=others,
        image_path=images.get(item_id),
    )


def _interaction(values: Mapping[str, object]) -> InteractionRecord:
    return InteractionRecord(
        user_id=cells.identifier("userId", values["userId"]),
        item_id=cells.identifier("movieId", values["movieId"]),
        timestamp=cells.moment("timestamp", values["timestamp"]),
        rating=cells.number("rating", values["rating"]),
    )
