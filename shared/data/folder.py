"""The plain format: a folder with an items table, an interactions table and pictures.

items.(jsonl|csv|tsv)[.gz] or items.parquet
    item_id, title; description, categories, brand, image; every other scalar is an attribute
interactions.(jsonl|csv|tsv)[.gz] or interactions.parquet
    user_id, item_id; timestamp or position, rating, event_type
images/<item_id>.(jpg|jpeg|png|webp), unless `image` names a file of the folder or an address
"""

from collections.abc import Iterator
from pathlib import Path

from shared.data import cells
from shared.data.dataset import Progress
from shared.data.reading import images_by_id, read_interactions, read_items, time_of
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.tables import (
    Row,
    delimited_rows,
    json_rows,
    parquet_rows,
    read_lines,
    require_columns,
)
from shared.errors import InvalidInputError

LOOKED_FOR = "items.(jsonl|csv|tsv)[.gz] or items.parquet, with interactions.* in the same formats"

_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_KNOWN = frozenset({"item_id", "title", "description", "categories", "brand", "image"})
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def find_table(root: Path, stem: str) -> Path | None:
    """The one table of that name.

    Raises:
        InvalidInputError: there are several, and nothing says which one counts.
    """
    found = [path for suffix in _SUFFIXES if (path := root / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise InvalidInputError.of("path", f"{root} holds more than one {stem} table: {listed}")
    return found[0] if found else None


class FolderDataset:
    """A folder in the plain format. The interactions may be missing: then there are none."""

    kind = "folder"

    def __init__(self, root: Path) -> None:
        """
        Raises:
            InvalidInputError: no items table, several tables of a name, or a column missing.
        """
        items = find_table(root, "items")
        if items is None:
            raise InvalidInputError.of("path", f"{root} holds no {LOOKED_FOR}")
        self.name = root.resolve().name
        self._root = root.resolve()
        self._items = items
        self._interactions = find_table(root, "interactions")
        self.progress = Progress.of_files(self._items, self._interactions)
        self._require(self._items, "item_id")
        if self._interactions is not None:
            self._require(self._interactions, "user_id", "item_id")

    def items(self) -> Iterator[ItemRecord | RowError]:
        images = images_by_id(self._root / "images")
        missing: list[RowError] = []

        def to_item(row: Row) -> ItemRecord:
            item, problem = self._item(row, images)
            if problem is not None:
                missing.append(problem)
            return item

        for record in read_items(_rows(self._items, self.progress), to_item):
            if isinstance(record, ItemRecord):
                yield from missing
            missing.clear()
            yield record

    def interactions(self) -> Iterator[InteractionRecord | RowError]:
        if self._interactions is None:
            return iter(())
        return read_interactions(_rows(self._interactions, self.progress), _interaction)

    def _item(self, row: Row, images: dict[str, Path]) -> tuple[ItemRecord, RowError | None]:
        """The item of a row, and the error about a picture that is named but not there."""
        values = row.values
        item_id = cells.identifier("item_id", values.get("item_id"))
        named = cells.text(values.get("image"))
        path, url, problem = images.get(item_id), None, None
        if named.startswith(("http://", "https://")):
            url = named
        elif named:
            inside = self._inside(named)
            path = inside or path
            if inside is None:
                message = f"{named!r} is no file in the folder"
                problem = RowError(row.file, row.line, "image", message, skipped=False)
        listed = values.get("attributes")
        others = cells.attributes(values, _KNOWN | {"attributes"})
        if isinstance(listed, dict):
            others |= cells.attributes(listed, ())
        # Where there are no categories, a list of attribute names is the nearest thing to them.
        categories = cells.names(values.get("categories")) or (
            cells.names(listed) if isinstance(listed, list) else ()
        )
        item = ItemRecord(
            item_id=item_id,
            title=cells.line(values.get("title")),
            description=cells.text(values.get("description")),
            categories=categories,
            brand=cells.line(values.get("brand")) or None,
            attributes=others,
            image_path=path,
            image_url=url,
        )
        return item, problem

    def _inside(self, named: str) -> Path | None:
        """The file of that relative path, if it is one and lies within the folder."""
        try:
            path = (self._root / named).resolve()
            return path if path.is_relative_to(self._root) and path.is_file() else None
        except (OSError, ValueError):  # a name that no file system takes
            return None

    def _require(self, table: Path, *columns: str) -> None:
        if ".jsonl" not in table.suffixes:  # JSON lines may each hold other fields
            require_columns(_rows(table, Progress()), table.name, columns)


def _rows(table: Path, progress: Progress) -> Iterator[Row | RowError]:
    form = next(suffix for suffix in reversed(table.suffixes) if suffix != ".gz")
    if form == ".parquet":
        return parquet_rows(table, table.name, progress)
    lines = read_lines(table, table.name, progress)
    if form == ".jsonl":
        return json_rows(lines, table.name)
    return delimited_rows(lines, table.name, _DELIMITERS[form])


def _interaction(row: Row) -> InteractionRecord:
    values = row.values
    event_type = cells.event_type("event_type", values.get("event_type"))
    rating = cells.number("rating", values.get("rating"))
    if event_type == "rating" and rating is None:
        raise cells.BadCellError("rating", "missing, though the event is a rating")
    return InteractionRecord(
        user_id=cells.identifier("user_id", values.get("user_id")),
        item_id=cells.identifier("item_id", values.get("item_id")),
        timestamp=time_of(row),
        rating=rating,
        event_type=event_type,
    )
