"""Embedding backfills, cut into chunks of items, and the leases that keep one owner a chunk."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, exists, extract, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import EmbeddingBackfillChunkRow, EmbeddingBackfillRow, ItemRow
from shared.errors import ConflictError
from shared.modeling.modality import Modality

# What the throughput is measured over: more than there are workers, few enough to be of now.
MEASURED_CHUNKS = 50
SHORTEST_MEASURED_S = 0.001


@dataclass(frozen=True)
class ClaimedChunk:
    """The items with ordinals from `first_ordinal` to `last_ordinal`, for the owner of `token`."""

    backfill_id: UUID
    number: int
    catalog_id: str
    revisions: Mapping[Modality, str]
    first_ordinal: int
    last_ordinal: int
    token: int


@dataclass(frozen=True)
class BackfillProgress:
    """Counts of items (`items`, `done`, `embedded`, `failed`) and of chunks.

    done: items of finished chunks. embedded: those that lacked a vector and got it.
    items_per_second: of all workers together, over the chunks finished last.
    """

    items: int = 0
    done: int = 0
    embedded: int = 0
    failed: int = 0
    chunks_waiting: int = 0
    chunks_running: int = 0
    chunks_done: int = 0
    items_per_second: float | None = None


class EmbeddingBackfillRepository:
    """The backfills of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self, catalog_id: str, revisions: Mapping[Modality, str], *, chunk: int
    ) -> EmbeddingBackfillRow:
        """A backfill of all items there are, in chunks of so many; finished where there are none.

        Raises ConflictError where another one of the catalogue is not finished.
        """
        statement = (
            insert(EmbeddingBackfillRow)
            .values(
                backfill_id=uuid4(),
                catalog_id=catalog_id,
                state="running",
                revisions={modality.value: revision for modality, revision in revisions.items()},
            )
            .on_conflict_do_nothing()
            .returning(EmbeddingBackfillRow)
        )
        row = (await self._session.execute(statement)).scalar_one_or_none()
        if row is None:
            raise ConflictError(await self._conflict(catalog_id))
        await self._cut(row, chunk)
        await self._close_if_done(row.backfill_id)
        await self._session.refresh(row)
        return row

    async def get(self, backfill_id: UUID) -> EmbeddingBackfillRow | None:
        return await self._session.get(EmbeddingBackfillRow, backfill_id)

    async def newest(self, catalog_id: str, *, limit: int) -> list[EmbeddingBackfillRow]:
        statement = (
            select(EmbeddingBackfillRow)
            .where(EmbeddingBackfillRow.catalog_id == catalog_id)
            .order_by(EmbeddingBackfillRow.created_at.desc())
            .limit(limit)
        )
        return list((await self._session.execute(statement)).scalars())

    async def cancel(self, row: EmbeddingBackfillRow) -> bool:
        """Let no more chunks be taken up; false where the backfill was over already.

        The owners of its chunks hear of it with their next heartbeat.
        """
        statement = (
            update(EmbeddingBackfillRow)
            .where(
                EmbeddingBackfillRow.backfill_id == row.backfill_id,
                EmbeddingBackfillRow.state == "running",
            )
            .values(state="cancelled", finished_at=func.now())
            .returning(EmbeddingBackfillRow.backfill_id)
            .execution_options(synchronize_session=False)
        )
        cancelled = (await self._session.execute(statement)).scalar_one_or_none() is not None
        await self._session.refresh(row)
        return cancelled

    async def without_owner(self) -> dict[UUID, int]:
        """How many chunks of each unfinished backfill wait for a worker, or were left by theirs."""
        chunk = EmbeddingBackfillChunkRow
        statement = (
            select(chunk.backfill_id, func.count())
            .join(EmbeddingBackfillRow, EmbeddingBackfillRow.backfill_id == chunk.backfill_id)
            .where(EmbeddingBackfillRow.state == "running", _has_no_owner())
            .group_by(chunk.backfill_id)
        )
        return dict((await self._session.execute(statement)).tuples().all())

    async def claim(self, backfill_id: UUID, *, lease: timedelta) -> ClaimedChunk | None:
        """Become the owner of the first chunk that has none; None where there is none to take."""
        backfill = await self.get(backfill_id)
        if backfill is None or backfill.state != "running":
            return None
        chunk = EmbeddingBackfillChunkRow
        free = (
            select(chunk.number)
            .where(chunk.backfill_id == backfill_id, _has_no_owner())
            .order_by(chunk.number)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        number = (await self._session.execute(free)).scalar_one_or_none()
        if number is None:
            return None
        statement = (
            update(chunk)
            .where(chunk.backfill_id == backfill_id, chunk.number == number)
            .values(
                state="running",
                lease_token=chunk.lease_token + 1,
                lease_expires_at=func.now() + lease,
                started_at=func.now(),
            )
            .returning(chunk.first_ordinal, chunk.last_ordinal, chunk.lease_token)
            .execution_options(synchronize_session=False)
        )
        first, last, token = (await self._session.execute(statement)).one()
        return ClaimedChunk(
            backfill_id=backfill_id,
            number=number,
            catalog_id=backfill.catalog_id,
            revisions={Modality(name): value for name, value in backfill.revisions.items()},
            first_ordinal=first,
            last_ordinal=last,
            token=token,
        )

    async def heartbeat(self, owned: ClaimedChunk, *, lease: timedelta) -> bool | None:
        """Extend the lease.

        Returns whether the backfill was cancelled, or None where the lease was lost: then the
        caller must stop without writing anything more.
        """
        statement = (
            update(EmbeddingBackfillChunkRow)
            .where(
                _is_owned(owned),
                EmbeddingBackfillRow.backfill_id == EmbeddingBackfillChunkRow.backfill_id,
            )
            .values(lease_expires_at=func.now() + lease)
            .returning(EmbeddingBackfillRow.state == "cancelled")
            .execution_options(synchronize_session=False)
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def count_embedded(self, owned: ClaimedChunk, items: int) -> bool:
        """Count items more; false where the lease was lost.

        The chunk stays locked until the transaction ends, so that what else is written in it is
        written by the owner.
        """
        return await self._write(owned, embedded=EmbeddingBackfillChunkRow.embedded + items)

    async def give_back(self, owned: ClaimedChunk) -> bool:
        """Let the chunk wait for another owner; false where the lease was lost."""
        return await self._write(owned, state="waiting", lease_expires_at=None)

    async def finish(self, owned: ClaimedChunk, *, failed: int) -> bool:
        """The chunk is done, and with the last one the backfill; false where the lease was lost."""
        # One after the other, so that of two owners the second sees that no chunk is left.
        await self._session.execute(
            select(EmbeddingBackfillRow.backfill_id)
            .where(EmbeddingBackfillRow.backfill_id == owned.backfill_id)
            .with_for_update()
        )
        done = await self._write(
            owned, state="done", failed=failed, lease_expires_at=None, finished_at=func.now()
        )
        if done:
            await self._close_if_done(owned.backfill_id)
        return done

    async def progress(self, backfill_ids: Collection[UUID]) -> dict[UUID, BackfillProgress]:
        """How far backfills are; one without chunks is left out."""
        speeds = await self._speeds(backfill_ids)
        chunk = EmbeddingBackfillChunkRow
        done_items = func.sum(chunk.items).filter(chunk.state == "done")
        statement = (
            select(
                chunk.backfill_id,
                func.sum(chunk.items),
                func.coalesce(done_items, 0),
                func.sum(chunk.embedded),
                func.sum(chunk.failed),
                func.count().filter(chunk.state == "waiting"),
                func.count().filter(chunk.state == "running"),
                func.count().filter(chunk.state == "done"),
            )
            .where(chunk.backfill_id.in_(backfill_ids))
            .group_by(chunk.backfill_id)
        )
        found: dict[UUID, BackfillProgress] = {}
        for row in await self._session.execute(statement):
            backfill_id, items, done, embedded, failed, waiting, running, finished = row
            found[backfill_id] = BackfillProgress(
                items=items,
                done=done,
                embedded=embedded,
                failed=failed,
                chunks_waiting=waiting,
                chunks_running=running,
                chunks_done=finished,
                items_per_second=speeds.get(backfill_id),
            )
        return found

    async def _speeds(self, backfill_ids: Collection[UUID]) -> dict[UUID, float]:
        """Items a second, from the begin of the first of the chunks finished last to their end."""
        chunk = EmbeddingBackfillChunkRow
        place = func.row_number().over(
            partition_by=chunk.backfill_id, order_by=chunk.finished_at.desc()
        )
        finished = (
            select(
                chunk.backfill_id,
                chunk.items.label("size"),
                chunk.started_at,
                chunk.finished_at,
                place.label("place"),
            )
            .where(chunk.backfill_id.in_(backfill_ids), chunk.state == "done")
            .subquery()
        )
        seconds = extract(
            "epoch", func.max(finished.c.finished_at) - func.min(finished.c.started_at)
        )
        statement = (
            select(finished.c.backfill_id, func.sum(finished.c.size), seconds)
            .where(finished.c.place <= MEASURED_CHUNKS)
            .group_by(finished.c.backfill_id)
        )
        return {
            backfill_id: size / max(float(took_s), SHORTEST_MEASURED_S)
            for backfill_id, size, took_s in await self._session.execute(statement)
        }

    async def _cut(self, row: EmbeddingBackfillRow, size: int) -> None:
        """Those items that a training run would read: neither deleted nor failed."""
        place = func.row_number().over(order_by=ItemRow.ordinal)
        numbered = (
            select(ItemRow.ordinal, ((place - 1) // size).label("number"))
            .where(
                ItemRow.catalog_id == row.catalog_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
            )
            .subquery()
        )
        await self._session.execute(
            insert(EmbeddingBackfillChunkRow).from_select(
                ["backfill_id", "number", "first_ordinal", "last_ordinal", "items", "state"],
                select(
                    literal(row.backfill_id),
                    numbered.c.number,
                    func.min(numbered.c.ordinal),
                    func.max(numbered.c.ordinal),
                    func.count(),
                    literal("waiting"),
                ).group_by(numbered.c.number),
            )
        )

    async def _close_if_done(self, backfill_id: UUID) -> None:
        chunk = EmbeddingBackfillChunkRow
        await self._session.execute(
            update(EmbeddingBackfillRow)
            .where(
                EmbeddingBackfillRow.backfill_id == backfill_id,
                EmbeddingBackfillRow.state == "running",
                ~exists().where(chunk.backfill_id == backfill_id, chunk.state != "done"),
            )
            .values(state="succeeded", finished_at=func.now())
            .execution_options(synchronize_session=False)
        )

    async def _write(self, owned: ClaimedChunk, **values: object) -> bool:
        statement = (
            update(EmbeddingBackfillChunkRow)
            .where(_is_owned(owned))
            .values(**values)
            .returning(EmbeddingBackfillChunkRow.number)
            .execution_options(synchronize_session=False)
        )
        return (await self._session.execute(statement)).scalar_one_or_none() is not None

    async def _conflict(self, catalog_id: str) -> str:
        statement = select(EmbeddingBackfillRow.backfill_id).where(
            EmbeddingBackfillRow.catalog_id == catalog_id, EmbeddingBackfillRow.state == "running"
        )
        unfinished = (await self._session.execute(statement)).scalar_one_or_none()
        if unfinished is None:
            return "An embedding backfill of this catalogue has just finished: ask again"
        return f"Embedding backfill {unfinished} is running: wait for it or cancel it"


def _has_no_owner() -> ColumnElement[bool]:
    chunk = EmbeddingBackfillChunkRow
    return or_(
        chunk.state == "waiting",
        and_(chunk.state == "running", chunk.lease_expires_at < func.now()),
    )


def _is_owned(owned: ClaimedChunk) -> ColumnElement[bool]:
    chunk = EmbeddingBackfillChunkRow
    return and_(
        chunk.backfill_id == owned.backfill_id,
        chunk.number == owned.number,
        chunk.lease_token == owned.token,
        chunk.state == "running",
    )
