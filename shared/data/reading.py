"""Rows into records: the loop that all importers share."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from shared.data import cells
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.tables import Row

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_items(
    rows: Iterable[Row | RowError], to_item: Callable[[Row], ItemRecord]
) -> Iterator[ItemRecord | RowError]:
    """Every row as an item; a wrong row and an id seen before become errors.

    `to_item` raises BadCellError for a wrong row.
    """
    first_line: dict[str, int] = {}
    for row in rows:
        if isinstance(row, RowError):
            yield row
            continue
        try:
            item = to_item(row)
        except cells.BadCellError as error:
            yield RowError(row.file, row.line, error.field, error.message)
            continue
        if item.item_id in first_line:
            message = f"{item.item_id!r} was given before, on line {first_line[item.item_id]}"
            yield RowError(row.file, row.line, "item_id", message)
            continue
        first_line[item.item_id] = row.line
        yield item


def read_interactions(
    rows: Iterable[Row | RowError], to_interaction: Callable[[Row], InteractionRecord]
) -> Iterator[InteractionRecord | RowError]:
    """Every row as an interaction. `to_interaction` raises BadCellError for a wrong row."""
    for row in rows:
        if isinstance(row, RowError):
            yield row
            continue
        try:
            yield to_interaction(row)
        except cells.BadCellError as error:
            yield RowError(row.file, row.line, error.field, error.message)


def time_of(row: Row) -> datetime:
    """When: `timestamp`, else `position`, else the place of the row in its file.

    The last two keep the order and nothing else: they count seconds from `START_OF_POSITIONS`.
    """
    values = row.values
    if "position" in values and cells.is_empty(values.get("timestamp")):
        return cells.position("position", values["position"])
    if "timestamp" in values:
        return cells.moment("timestamp", values["timestamp"])
    return cells.position("position", row.line)


def images_by_id(folder: Path) -> dict[str, Path]:
    """The pictures `<item_id>.<jpg|jpeg|png|webp>` of a folder; empty where there is none."""
    if not folder.is_dir():
        return {}
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    }
