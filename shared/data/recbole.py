"""RecBole's atomic files: tab-separated, the type of a column in its header (`user_id:token`).

`<name>.inter` holds user_id and item_id, and timestamp and rating where known; `<name>.item` holds
item_id and what else is known of an item. Columns of type `token_seq` are lists divided by blanks.
Without `<name>.item` there are interactions only.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.data import cells
from shared.data.dataset import Progress
from shared.data.reading import images_by_id, read_interactions, read_items, time_of
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.tables import Row, delimited_rows, read_lines
from shared.errors import InvalidInputError

LOOKED_FOR = "one <name>.inter, with <name>.item where there is one"

_TYPES = ("token", "float", "token_seq", "float_seq")
_CATEGORY_COLUMNS = ("categories", "category", "genres", "genre", "class")
_DESCRIPTION_COLUMNS = ("description", "plot", "overview")


def find_interactions(root: Path) -> Path | None:
    """The one `.inter` file, or None.

    Raises:
        InvalidInputError: there are several.
    """
    found = sorted(path for path in root.iterdir() if path.suffix == ".inter")
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise InvalidInputError.of("path", f"{root} holds several .inter files: {listed}")
    return found[0] if found else None


class RecBoleDataset:
    """One data set in atomic files."""

    kind = "recbole"

    def __init__(self, root: Path) -> None:
        """
        Raises:
            InvalidInputError: no or several `.inter` files, or a header that is not as described.
        """
        interactions = find_interactions(root)
        if interactions is None:
            raise InvalidInputError.of("path", f"{root} holds no {LOOKED_FOR}")
        items = interactions.with_suffix(".item")
        self.name = interactions.stem
        self._interactions = interactions
        self._items = items if items.is_file() else None
        self._images = root / "images"
        self._interaction_types = _read_header(interactions, ("user_id", "item_id"))
        self._item_types = _read_header(items, ("item_id",)) if self._items else {}
        self.progress = Progress.of_files(self._items, self._interactions)

    def items(self) -> Iterator[ItemRecord | RowError]:
        if self._items is None:
            return iter(())
        images = images_by_id(self._images)
        rows = self._rows(self._items, self._item_types)
        return read_items(rows, lambda row: _item(row, self._item_types, images))

    def interactions(self) -> Iterator[InteractionRecord | RowError]:
        rows = self._rows(self._interactions, self._interaction_types)
        return read_interactions(rows, _interaction)

    def _rows(self, path: Path, types: Mapping[str, str]) -> Iterator[Row | RowError]:
        lines = read_lines(path, path.name, self.progress)
        next(lines, None)  # the header, read when the data set was opened
        return delimited_rows(lines, path.name, "\t", list(types), quoted=False)


def _read_header(path: Path, needed: tuple[str, ...]) -> dict[str, str]:
    """Column names and their types, in order."""
    first = next(read_lines(path, path.name, Progress()), None)
    if first is None or isinstance(first, RowError):
        raise InvalidInputError.of(path.name, f"no header: {first.message if first else 'empty'}")
    types: dict[str, str] = {}
    for column in first.text.split("\t"):
        name, _, kind = column.strip().partition(":")
        if not name or kind not in _TYPES:
            expected = ", ".join(f"name:{known}" for known in _TYPES)
            raise InvalidInputError.of(path.name, f"column {column!r}: expected one of {expected}")
        types[name] = kind
    for name in needed:
        if name not in types:
            raise InvalidInputError.of(
                path.name, f"no column {name}; the columns are: {', '.join(types)}"
            )
    return types


def _item(row: Row, types: Mapping[str, str], images: Mapping[str, Path]) -> ItemRecord:
    values = row.values
    item_id = cells.identifier("item_id", values["item_id"])
    title = _title_column(values)
    category = _first(values, _CATEGORY_COLUMNS)
    description = _first(values, _DESCRIPTION_COLUMNS)
    used = {"item_id", title, "brand", category, description}
    others = {
        name: cells.number(name, cell) if types[name] == "float" else cell
        for name, cell in values.items()
        if name not in used and types[name] != "float_seq"
    }
    return ItemRecord(
        item_id=item_id,
        title=cells.line(values[title]) if title else "",
        description=cells.text(values[description]) if description else "",
        categories=_categories(values[category], types[category]) if category else (),
        brand=cells.line(values.get("brand")) or None,
        attributes=cells.attributes(others, ()),
        image_path=images.get(item_id),
    )


def _categories(cell: object, kind: str) -> tuple[str, ...]:
    """A list of tokens is divided at its commas if it has any, else at its blanks."""
    whole = cells.text(cell)
    if kind != "token_seq":
        return cells.names(whole)
    parts = whole.split(",") if "," in whole else whole.split()
    return cells.names([part.strip().strip("'\"[]") for part in parts])


def _interaction(row: Row) -> InteractionRecord:
    values = row.values
    return InteractionRecord(
        user_id=cells.identifier("user_id", values["user_id"]),
        item_id=cells.identifier("item_id", values["item_id"]),
        timestamp=time_of(row),
        rating=cells.number("rating", values.get("rating")),
    )


def _title_column(values: Mapping[str, object]) -> str | None:
    """`title`, else the first column whose name ends in title or name (`movie_title`)."""
    return next(
        (name for ending in ("title", "name") for name in values if name.lower().endswith(ending)),
        None,
    )


def _first(values: Mapping[str, object], columns: tuple[str, ...]) -> str | None:
    return next((name for name in columns if not cells.is_empty(values.get(name))), None)
