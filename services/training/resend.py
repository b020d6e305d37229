"""Training runs that nobody works on: their task is sent again.

A run's row is the truth. The task may never have been sent (the gateway died after its commit), the
broker may have lost it, or the worker that had it may be gone.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.training.celery_app import TRAIN_TASK, make_celery
from services.training.resources import Resources
from shared.database.training_runs import TrainingRunRepository

# The gateway sends the task itself right after its commit.
QUEUED_FOR = timedelta(seconds=10)

# A run waits in the queue for as long as the worker has another one: do not pile up its messages.
PAUSE_BETWEEN_SENDS = timedelta(seconds=60)

log = structlog.get_logger()


class Resender:
    """Sends the tasks of forgotten runs."""

    def __init__(
        self,
        resources: Resources,
        *,
        queued_for: timedelta = QUEUED_FOR,
        pause: timedelta = PAUSE_BETWEEN_SENDS,
    ) -> None:
        self._database = resources.database
        self._redis: Redis = resources.redis
        self._celery = make_celery(resources.settings)
        self._queued_for = queued_for
        self._pause = pause

    async def resend(self) -> list[UUID]:
        """Returns the runs whose task was sent."""
        async with self._database.transaction() as session:
            runs = TrainingRunRepository(session)
            forgotten = [*await runs.waiting(longer_than=self._queued_for), *await runs.abandoned()]
        sent: list[UUID] = []
        for run_id in forgotten:
            try:
                if await self._may_send(run_id):
                    await asyncio.to_thread(
                        self._celery.send_task, TRAIN_TASK, [str(run_id)], retry=False
                    )
                    sent.append(run_id)
                    log.info("training task sent again", run_id=str(run_id))
            except (RedisError, OperationalError) as error:
                log.warning("training task not sent", run_id=str(run_id), error=str(error))
        return sent

    async def _may_send(self, run_id: UUID) -> bool:
        """Once a pause, whichever relay comes first."""
        key = f"mmesid:training-sent:{run_id}"
        return bool(await self._redis.set(key, "1", nx=True, px=self._pause))
