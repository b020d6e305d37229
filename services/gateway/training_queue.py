"""Tells the training workers of a run."""

import asyncio
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from shared.settings import RedisSettings

TASK = "mmesid.train"
QUEUE = "training"

log = structlog.get_logger()


class TrainingQueue:
    """Only a hint: the runs are in Postgres, and the relay sends what was lost on the way."""

    def __init__(self, settings: RedisSettings) -> None:
        self._celery = Celery(broker=settings.url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_connection_timeout=2,
            broker_transport_options={"socket_connect_timeout": 2, "socket_timeout": 2},
        )

    async def send(self, run_id: UUID) -> None:
        try:
            await asyncio.to_thread(
                self._celery.send_task, TASK, [str(run_id)], queue=QUEUE, retry=False
            )
        except OperationalError as error:
            log.warning("training run left to the relay", run_id=str(run_id), cause=str(error))
