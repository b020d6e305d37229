"""One chunk of an embedding backfill: taken, embedded, and done or given back."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.training.content_embedding import (
    ContentEmbedder,
    EmbeddedBatch,
    Wanted,
    item_vectors,
)
from services.training.lease import CancelledRunError, Lease, LeaseLostError
from services.training.resources import Resources, open_resources
from services.training.stages.snapshot import SnapshotItem, item_of
from shared.database.embedding_backfills import ClaimedChunk, EmbeddingBackfillRepository
from shared.database.embeddings import EmbeddingRepository
from shared.database.items import ItemRepository
from shared.errors import MmesidError
from shared.settings import Settings

# Then the worker may do something else: the chunk waits, and its message comes again.
PATIENCE_S = 5.0

log = structlog.get_logger()


async def embed_next_chunk(backfill_id: UUID, settings: Settings) -> bool:
    """Take the first chunk of a backfill that has no owner, if any, and embed what its items lack.

    Returns whether a chunk was done, so that it is worth looking for another one.
    """
    structlog.contextvars.bind_contextvars(backfill_id=str(backfill_id))
    lease = timedelta(seconds=settings.training.lease_s)
    async with open_resources(settings) as resources:
        async with resources.database.transaction() as session:
            chunk = await EmbeddingBackfillRepository(session).claim(backfill_id, lease=lease)
        if chunk is None:
            return False
        return await _Ownership(chunk, resources).conclude()


class _Ownership:
    """One process's time with one chunk."""

    def __init__(self, chunk: ClaimedChunk, resources: Resources) -> None:
        self._chunk = chunk
        self._resources = resources
        self._lease = _lease_of(chunk, resources)

    async def conclude(self) -> bool:
        """Returns whether the chunk is done; nothing is written once the lease is lost."""
        async with self._lease.kept():
            try:
                return await self._finish(failed=await self._embed())
            except LeaseLostError:
                log.warning("lease lost: another process has the chunk", chunk=self._chunk.number)
            except CancelledRunError:
                await self._give_back("the backfill was cancelled")
            except MmesidError as error:
                # What is wrong with an item fails that item alone, so this is the service's state.
                await self._give_back(error.detail)
        return False

    async def _embed(self) -> int:
        """Store what the items lack, batch by batch; returns how many cannot be embedded."""
        chunk, resources = self._chunk, self._resources
        embedder = ContentEmbedder(
            resources.embedding,
            resources.store,
            chunk.catalog_id,
            chunk.revisions,
            batch=resources.settings.training.embed_batch,
            check=self._lease.check,
            patience_s=PATIENCE_S,
        )
        entries = await self._read()
        items = [entry.item for entry in entries]
        failed = 0
        async for batch in embedder.embed(
            [entry for entry in entries if embedder.lacks(entry.item, entry.known)]
        ):
            await self._store(items, batch)
            failed += len(batch.problems)
        return failed

    async def _read(self) -> list[Wanted]:
        """The items as they are now, with what is stored of them."""
        chunk = self._chunk
        async with self._resources.database.transaction() as session:
            rows = await ItemRepository(session, chunk.catalog_id).between(
                chunk.first_ordinal, chunk.last_ordinal
            )
            items = [item_of(row) for row in rows if row.status != "failed"]
            stored = await EmbeddingRepository(session, chunk.catalog_id).of_items(
                [item.item_id for item in items], chunk.revisions
            )
        return [
            Wanted(row, item, stored.get(item.item_id, {}).keys()) for row, item in enumerate(items)
        ]

    async def _store(self, items: Sequence[SnapshotItem], batch: EmbeddedBatch) -> None:
        vectors = item_vectors(items, self._chunk.revisions, batch.vectors)
        whole = batch.vectors.keys() - batch.problems.keys()
        async with self._resources.database.transaction() as session:
            if not await EmbeddingBackfillRepository(session).count_embedded(
                self._chunk, len(whole)
            ):
                raise LeaseLostError("another process has this chunk now")
            await EmbeddingRepository(session, self._chunk.catalog_id).put(vectors)

    async def _finish(self, *, failed: int) -> bool:
        async with self._resources.database.transaction() as session:
            done = await EmbeddingBackfillRepository(session).finish(self._chunk, failed=failed)
        if not done:
            raise LeaseLostError("another process has this chunk now")
        log.info("chunk embedded", chunk=self._chunk.number, failed=failed)
        return True

    async def _give_back(self, cause: str) -> None:
        async with self._resources.database.transaction() as session:
            await EmbeddingBackfillRepository(session).give_back(self._chunk)
        log.warning("chunk given back", chunk=self._chunk.number, cause=cause)


def _lease_of(chunk: ClaimedChunk, resources: Resources) -> Lease:
    length_s = resources.settings.training.lease_s

    async def beat(session: AsyncSession) -> bool | None:
        return await EmbeddingBackfillRepository(session).heartbeat(
            chunk, lease=timedelta(seconds=length_s)
        )

    return Lease(resources.database, chunk.token, length_s, beat)
