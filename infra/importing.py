"""A data set into Postgres and the image store. Run twice, it stores nothing twice."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.contracts.common import UserId
from shared.contracts.public import ItemCreate
from shared.data.dataset import Dataset
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.database.bundles import BundleRepository
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository, NewItem
from shared.database.outbox import OutboxRepository
from shared.database.session import Database
from shared.errors import MmesidError
from shared.images import ImageLimits, decode_image
from shared.ingestion.item_content import item_content
from shared.settings import Settings

ITEMS_AT_ONCE = 200
INTERACTIONS_AT_ONCE = 5000
# Without a bundle the relay can do nothing for an item: the first training run sees to all of them.
UNTIL_THE_FIRST_BUNDLE = timedelta(days=1)

_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)
Record = TypeVar("Record", ItemRecord, InteractionRecord)


@dataclass
class ImportReport:
    """What an import has done so far. `new_*`: what was not there before."""

    fraction: float = 0.0
    items: int = 0
    new_items: int = 0
    images: int = 0
    interactions: int = 0
    new_interactions: int = 0
    row_errors: list[RowError | str] = field(default_factory=list)


OnProgress = Callable[[ImportReport], None]


async def import_dataset(
    dataset: Dataset,
    *,
    catalog_id: str,
    database: Database,
    settings: Settings,
    on_progress: OnProgress,
) -> ImportReport:
    """Store all items and interactions; rows that are wrong are reported and left out.

    An item whose image cannot be read is stored without it.

    Raises:
        InvalidInputError: the data set's files cannot be read at all.
    """
    report = ImportReport()
    images = ImageStore(ArtifactStore(settings.artifacts), catalog_id)
    limits = ImageLimits(settings.images.max_bytes, settings.images.max_pixels)
    async with database.transaction() as session:
        live = await BundleRepository(session, catalog_id).live()
    relay_after = timedelta(0) if live is not None else UNTIL_THE_FIRST_BUNDLE

    records = iter(dataset.items())
    while chunk := await asyncio.to_thread(_next_chunk, records, ITEMS_AT_ONCE):
        items = await asyncio.to_thread(_new_items, chunk, images, limits, report)
        async with database.transaction() as session:
            stored = await ItemRepository(session, catalog_id).insert_many(
                items, relay_after=relay_after
            )
        report.items += len(items)
        report.new_items += len(stored)
        report.fraction = dataset.progress.fraction
        on_progress(report)

    events = iter(dataset.interactions())
    while rows := await asyncio.to_thread(_next_chunk, events, INTERACTIONS_AT_ONCE):
        interactions = _new_interactions(rows, report)
        async with database.transaction() as session:
            new = await InteractionRepository(session, catalog_id).add(interactions)
        report.interactions += len(interactions)
        report.new_interactions += sum(new)
        report.fraction = dataset.progress.fraction
        on_progress(report)

    if live is not None:
        async with database.transaction() as session:
            await OutboxRepository(session).hasten(catalog_id)
    report.fraction = 1.0
    on_progress(report)
    return report


def _next_chunk(records: Iterator[Record | RowError], size: int) -> list[Record | RowError]:
    return list(islice(records, size))


def _sound(rows: Iterable[Record | RowError], report: ImportReport) -> Iterator[Record]:
    """The records among the rows; the errors go to the report."""
    for row in rows:
        if isinstance(row, RowError):
            report.row_errors.append(row)
        else:
            yield row


def _new_items(
    rows: Sequence[ItemRecord | RowError],
    images: ImageStore,
    limits: ImageLimits,
    report: ImportReport,
) -> list[NewItem]:
    items: dict[str, NewItem] = {}
    for record in _sound(rows, report):
        try:
            checked = ItemCreate(
                item_id=record.item_id,
                title=record.title,
                description=record.description,
                categories=list(record.categories),
                brand=record.brand,
                attributes=dict(record.attributes),
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            report.row_errors.append(f"item {record.item_id!r}: {place}: {first['msg']}")
            continue
        sha256 = _stored_image(record, images, limits, report)
        content = item_content(
            title=checked.title,
            description=checked.description,
            categories=checked.categories,
            brand=checked.brand,
            attributes=checked.attributes,
            image_sha256=sha256,
        )
        items.setdefault(record.item_id, NewItem(record.item_id, content))
    return list(items.values())


def _stored_image(
    record: ItemRecord, images: ImageStore, limits: ImageLimits, report: ImportReport
) -> str | None:
    try:
        data = record.read_image()
        if data is None:
            return None
        decode_image(data, limits=limits)
    except MmesidError as error:
        report.row_errors.append(f"item {record.item_id!r}: {error.detail}")
        return None
    report.images += 1
    return images.put(data)


def _new_interactions(
    rows: Sequence[InteractionRecord | RowError], report: ImportReport
) -> list[NewInteraction]:
    interactions = []
    for record in _sound(rows, report):
        try:
            _USER_ID.validate_python(record.user_id)
        except ValidationError as error:
            cause = error.errors()[0]["msg"]
            report.row_errors.append(f"interaction of user {record.user_id!r}: user_id: {cause}")
            continue
        interactions.append(
            NewInteraction(
                user_id=record.user_id,
                item_id=record.item_id,
                event_type=record.event_type,
                occurred_at=record.timestamp,
                rating=record.rating,
                event_id=_event_id(record),
            )
        )
    return interactions


def _event_id(record: InteractionRecord) -> str:
    """The same row gets the same id, so that an import can be repeated after an interruption."""
    what = (record.user_id, record.item_id, record.timestamp.isoformat(), record.event_type)
    return f"import-{hashlib.sha256(chr(0).join(what).encode()).hexdigest()[:32]}"
