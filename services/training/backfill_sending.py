"""The tasks of embedding backfills.

A message says only which backfill it is about: whoever gets it takes the next chunk, and sends one
more when it is done. So a few are enough to begin with, and any of them may be lost.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.training.celery_app import BACKFILL_QUEUE, EMBED_CHUNK_TASK, make_celery
from services.training.resources import Resources
from shared.database.embedding_backfills import EmbeddingBackfillRepository

# What a training run that comes to the same queue may have before it.
MOST_IN_THE_QUEUE = 4

PAUSE_BETWEEN_SENDS = timedelta(seconds=5)

log = structlog.get_logger()


class BackfillSender:
    """Sends for chunks that nobody works on, as long as few messages wait in the queue."""

    def __init__(self, resources: Resources, *, pause: timedelta = PAUSE_BETWEEN_SENDS) -> None:
        self._database = resources.database
        self._redis: Redis = resources.redis
        self._celery = make_celery(resources.settings)
        self._pause = pause

    async def send(self) -> int:
        """Returns how many messages were sent."""
        async with self._database.transaction() as session:
            without_owner = await EmbeddingBackfillRepository(session).without_owner()
        sent = 0
        for backfill_id, chunks in without_owner.items():
            try:
                sent += await self._send(backfill_id, chunks)
            except (RedisError, OperationalError) as error:
                log.warning("chunks not sent", backfill_id=str(backfill_id), error=str(error))
        return sent

    async def _send(self, backfill_id: UUID, chunks: int) -> int:
        room = MOST_IN_THE_QUEUE - await self._redis.llen(BACKFILL_QUEUE)
        messages = min(chunks, room)
        if messages <= 0 or not await self._may_send(backfill_id):
            return 0
        for _ in range(messages):
            await asyncio.to_thread(
                self._celery.send_task, EMBED_CHUNK_TASK, [str(backfill_id)], retry=False
            )
        return messages

    async def _may_send(self, backfill_id: UUID) -> bool:
        """Once a pause, whichever relay comes first."""
        key = f"mmesid:backfill-sent:{backfill_id}"
        return bool(await self._redis.set(key, "1", nx=True, px=self._pause))
