"""Tells the training workers of a run."""

import asyncio
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from shared.settings import Settings

TASK = "mmesid.train"

log = structlog.get_logger()


class TrainingQueue:
    """Only a hint: the runs are in Postgres, and the relay sends what was lost on the way."""

    def __init__(self, settings: Settings) -> None:
        self._queue = settings.training.queue
        self._celery = Celery(broker=settings.redis.url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_connection_timeout=2,
            broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 2},
        )

    async def send(self, run_id: UUID) -> None:
        try:
            await asyncio.to_thread(
                self._celery.send_task, TASK, [str(run_id)], queue=self._queue, retry=False
            )
        except OperationalError as error:
            log.warning("training run left to the relay", run_id=str(run_id), cause=str(error))
