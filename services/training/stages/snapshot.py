"""First stage: the items and interactions as they are now, the same for all later stages."""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from services.training.context import StageContext
from services.training.lease import LeaseLostError
from shared.computing import compute
from shared.database.interactions import InteractionRepository
from shared.database.items import ItemRepository
from shared.database.tables import ItemRow
from shared.database.training_runs import TrainingRunRepository
from shared.errors import InvalidInputError
from shared.ingestion.content_vectors import text_of
from shared.modeling.progress import Progress
from shared.modeling.sequences import (
    SHORTEST_EVALUATED,
    ItemRows,
    Split,
    item_frequency,
    leave_one_out,
)
from shared.settings import EventSettings

NAME = "snapshot"
ITEMS_A_PAGE = 2000

# One item alone is no sequence: there is no next item to learn from.
SHORTEST_SEQUENCE = 2

# An import stores thousands of interactions in a transaction of a second or so.
SETTLED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05

log = structlog.get_logger()


@dataclass(frozen=True)
class SnapshotItem:
    """One item as it was; its place in the list is its row in every table of the run."""

    item_id: str
    version: int
    content_hash: str
    text: str
    image_sha256: str | None


@dataclass(frozen=True)
class Snapshot:
    """items: I of them. sequences: item rows, oldest first, one array a user.

    unknown_interactions: with items that do not exist (any more). short_sequences: users left out.
    non_positive, repeated: events that are no positions of a sequence (`shared.positives`).
    """

    items: Sequence[SnapshotItem]
    sequences: Sequence[ItemRows]
    unknown_interactions: int
    short_sequences: int
    non_positive: int
    repeated: int

    @property
    def item_ids(self) -> list[str]:
        return [item.item_id for item in self.items]

    @property
    def versions(self) -> dict[str, int]:
        return {item.item_id: item.version for item in self.items}

    def split(self) -> Split:
        return leave_one_out(self.sequences)

    def frequency(self) -> NDArray[np.int64]:
        """q [I] (Sec. 4.3)."""
        return item_frequency(self.split(), len(self.items))

    def sha256(self) -> str:
        """The same for the same items in the same order with the same sequences."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.item_id}\0{item.content_hash}\0".encode())
        for sequence in self.sequences:
            digest.update(np.append(sequence, -1).astype("<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "sha256": self.sha256(),
            "items": len(self.items),
            "users": len(self.sequences),
            "interactions": sum(len(sequence) for sequence in self.sequences),
            "unknown_interactions": self.unknown_interactions,
            "short_sequences": self.short_sequences,
            "non_positive": self.non_positive,
            "repeated": self.repeated,
        }


async def run(context: StageContext, folder: Path) -> None:
    """Raises InvalidInputError where there is too little to learn from."""
    newest = await _newest_settled(context)
    async with context.resources.database.transaction() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        snapshot = await read_snapshot(
            session, context.catalog_id, context.resources.settings.events
        )
    require_enough(snapshot)
    await compute(save_snapshot, snapshot, folder)
    await _set_last_interaction(context, newest)
    figures = {name: n for name, n in snapshot.describe().items() if isinstance(n, int)}
    context.report(Progress(NAME, 1, 1, figures))


async def _newest_settled(context: StageContext) -> int | None:
    """The id of an interaction up to which a snapshot taken now holds all, those included that were
    being stored a moment ago: what the next run's start by volume counts from."""
    database = context.resources.database
    async with database.transaction() as session:
        mark = await InteractionRepository(session, context.catalog_id).mark()
    give_up = time.monotonic() + SETTLED_WITHIN_S
    while time.monotonic() < give_up:
        context.lease.check()
        async with database.transaction() as session:
            if await InteractionRepository(session, context.catalog_id).is_settled(mark):
                return mark.newest_id
        await asyncio.sleep(LOOK_EVERY_S)
    log.warning("transactions stay open: new interactions may be undercounted")
    return mark.newest_id


async def read_snapshot(session: AsyncSession, catalog_id: str, rule: EventSettings) -> Snapshot:
    """All items but deleted and failed ones in the order of their arrival, and all positives."""
    items = await _read_items(session, catalog_id)
    row_of = {item.item_id: row for row, item in enumerate(items)}
    sequences: list[ItemRows] = []
    unknown = short = non_positive = repeated = 0
    async for positives in InteractionRepository(session, catalog_id).sequences(rule):
        rows = [row_of[item_id] for item_id in positives.item_ids if item_id in row_of]
        if len(rows) >= SHORTEST_SEQUENCE:
            sequences.append(np.array(rows, dtype=np.int64))
        elif rows:
            short += 1
        unknown += len(positives.item_ids) - len(rows)
        non_positive += positives.non_positive
        repeated += positives.repeated
    return Snapshot(items, sequences, unknown, short, non_positive, repeated)


async def _read_items(session: AsyncSession, catalog_id: str) -> list[SnapshotItem]:
    repository = ItemRepository(session, catalog_id)
    items: list[SnapshotItem] = []
    last = 0
    while page := await repository.page(after_ordinal=last, limit=ITEMS_A_PAGE):
        items += [item_of(row) for row in page if row.status != "failed"]
        last = page[-1].ordinal
        session.expunge_all()
    return items


def item_of(row: ItemRow) -> SnapshotItem:
    """What is read of an item."""
    return SnapshotItem(row.item_id, row.version, row.content_hash, text_of(row), row.image_sha256)


def require_enough(snapshot: Snapshot) -> None:
    """Raises InvalidInputError that says what is missing."""
    if len(snapshot.items) < 2:
        raise InvalidInputError.of(
            "items", f"a catalogue needs at least two items to train on, not {len(snapshot.items)}"
        )
    if not any(len(sequence) >= SHORTEST_EVALUATED for sequence in snapshot.sequences):
        raise InvalidInputError.of(
            "interactions",
            f"no user has {SHORTEST_EVALUATED} interactions with items of the catalogue"
            f" ({snapshot.unknown_interactions} interactions were with unknown items,"
            f" {snapshot.non_positive} were no positives)",
        )


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    columns = {
        name: [getattr(item, name) for item in snapshot.items]
        for name in ("item_id", "version", "content_hash", "text", "image_sha256")
    }
    pq.write_table(pa.table(columns), folder / "items.parquet")
    lengths = [len(sequence) for sequence in snapshot.sequences]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *snapshot.sequences])
    np.savez(folder / "sequences.npz", rows=rows, ends=np.cumsum(lengths, dtype=np.int64))
    (folder / "dataset.json").write_text(json.dumps(snapshot.describe(), indent=2))


def load_snapshot(folder: Path) -> Snapshot:
    """What `save_snapshot` wrote."""
    columns = pq.read_table(folder / "items.parquet").to_pydict()
    arrays = np.load(folder / "sequences.npz")
    document = json.loads((folder / "dataset.json").read_text())
    return Snapshot(
        items=[
            SnapshotItem(*values)
            for values in zip(
                columns["item_id"], columns["version"], columns["content_hash"], columns["text"],
                columns["image_sha256"], strict=True,
            )
        ],
        sequences=np.split(arrays["rows"], arrays["ends"][:-1]),
        unknown_interactions=document["unknown_interactions"],
        short_sequences=document["short_sequences"],
        non_positive=document["non_positive"],
        repeated=document["repeated"],
    )  # fmt: skip


async def _set_last_interaction(context: StageContext, interaction_id: int | None) -> None:
    async with context.resources.database.transaction() as session:
        written = await TrainingRunRepository(session).set_last_interaction(
            context.run_id, context.lease.token, interaction_id
        )
    if not written:
        raise LeaseLostError("another process owns this run now")
