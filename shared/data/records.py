"""What an importer yields: items, interactions, and the rows it could not read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from shared.errors import InvalidInputError
from shared.positives import EventType

Attribute = str | float | bool


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One item of a catalogue.

    The picture is a file (`image_path`), drawn on demand (`draw_image`) or only known by its
    address (`image_url`, never fetched here). It is read when `read_image` is called, not before.
    """

    item_id: str
    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    brand: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    image_path: Path | None = None
    image_url: str | None = None
    draw_image: Callable[[], bytes] | None = field(default=None, compare=False)

    @property
    def has_image(self) -> bool:
        return self.image_path is not None or self.draw_image is not None

    def read_image(self) -> bytes | None:
        """The encoded picture (JPEG, PNG or WebP), or None where there is none.

        Raises:
            InvalidInputError: the file is gone or may not be read.
        """
        if self.draw_image is not None:
            return self.draw_image()
        if self.image_path is None:
            return None
        try:
            return self.image_path.read_bytes()
        except OSError as error:
            cause = error.strerror or str(error)
            raise InvalidInputError.of(
                "image", f"item {self.item_id!r}: {self.image_path.name} cannot be read: {cause}"
            ) from error


@dataclass(frozen=True, slots=True)
class InteractionRecord:
    """One user met one item. `timestamp` is always aware and in UTC."""

    user_id: str
    item_id: str
    timestamp: datetime
    rating: float | None = None
    event_type: EventType = "interaction"


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that is wrong: where it stands and why.

    `line` counts from 1 (the header line included; rows, for Parquet). `skipped` is False where
    only the field was dropped and the record itself follows.
    """

    file: str
    line: int
    field: str | None
    message: str
    skipped: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return (
            f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        )
