"""Embedding backfills: asked for, looked at, cancelled. The relay tells the workers of them."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.clients.embedding import EmbeddingClient
from shared.contracts.admin import BackfillChunks, EmbeddingBackfill, EmbeddingBackfills
from shared.database.embedding_backfills import BackfillProgress, EmbeddingBackfillRepository
from shared.database.session import Database
from shared.database.tables import EmbeddingBackfillRow
from shared.errors import ConflictError, NotFoundError
from shared.settings import TrainingSettings


class Backfills:
    def __init__(
        self, database: Database, embedding: EmbeddingClient, settings: TrainingSettings
    ) -> None:
        self._database = database
        self._embedding = embedding
        self._settings = settings

    async def start(self, catalog_id: str) -> EmbeddingBackfill:
        """Cut the catalogue into chunks, for the encoders as they are now.

        Raises:
            UnavailableError: the embedding service is away.
            ConflictError: another one of this catalogue is not finished yet.
        """
        revisions = await self._embedding.revisions()
        async with self._database.transaction() as session:
            row = await EmbeddingBackfillRepository(session).add(
                catalog_id, revisions, chunk=self._settings.backfill_chunk
            )
            return await _view(session, row)

    async def newest(self, catalog_id: str, *, limit: int) -> EmbeddingBackfills:
        async with self._database.transaction() as session:
            backfills = EmbeddingBackfillRepository(session)
            rows = await backfills.newest(catalog_id, limit=limit)
            progress = await backfills.progress([row.backfill_id for row in rows])
        return EmbeddingBackfills(
            backfills=[
                _document(row, progress.get(row.backfill_id, BackfillProgress())) for row in rows
            ]
        )

    async def get(self, catalog_id: str, backfill_id: UUID) -> EmbeddingBackfill:
        """Raises NotFoundError, also for a backfill of another catalogue."""
        async with self._database.transaction() as session:
            return await _view(session, await _backfill_of(session, catalog_id, backfill_id))

    async def cancel(self, catalog_id: str, backfill_id: UUID) -> EmbeddingBackfill:
        """No more chunks are begun; what was stored stays.

        Raises:
            NotFoundError: the catalogue has no such backfill.
            ConflictError: it is over.
        """
        async with self._database.transaction() as session:
            row = await _backfill_of(session, catalog_id, backfill_id)
            if not await EmbeddingBackfillRepository(session).cancel(row):
                raise ConflictError(f"Embedding backfill {backfill_id} is over: it has {row.state}")
            return await _view(session, row)


async def _backfill_of(
    session: AsyncSession, catalog_id: str, backfill_id: UUID
) -> EmbeddingBackfillRow:
    row = await EmbeddingBackfillRepository(session).get(backfill_id)
    if row is None or row.catalog_id != catalog_id:
        raise NotFoundError(f"There is no embedding backfill {backfill_id}")
    return row


async def _view(session: AsyncSession, row: EmbeddingBackfillRow) -> EmbeddingBackfill:
    progress = await EmbeddingBackfillRepository(session).progress([row.backfill_id])
    return _document(row, progress.get(row.backfill_id, BackfillProgress()))


def _document(row: EmbeddingBackfillRow, progress: BackfillProgress) -> EmbeddingBackfill:
    speed = progress.items_per_second
    left = progress.items - progress.done
    return EmbeddingBackfill(
        backfill_id=row.backfill_id,
        state=row.state,
        revisions=row.revisions,
        items=progress.items,
        done=progress.done,
        embedded=progress.embedded,
        failed=progress.failed,
        chunks=BackfillChunks(
            waiting=progress.chunks_waiting,
            running=progress.chunks_running,
            done=progress.chunks_done,
        ),
        items_per_second=speed,
        eta_s=left / speed if speed and row.state == "running" else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
