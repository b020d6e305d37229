"""The Celery tasks. They import the model code only where they run: in the pool's child process.

A process that has loaded torch must not fork, since its threads do not come along.
"""

import asyncio
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError

from services.training.celery_app import CLEAN_UP_TASK, TRAIN_TASK, app
from shared.settings import load_settings

log = structlog.get_logger()


@app.task(name=TRAIN_TASK)  # type: ignore[untyped-decorator]
def train(run_id: str) -> None:
    """Own a training run until it ends. A run that is owned or over is left alone."""
    from services.training.run import run_training

    catalog_id = asyncio.run(run_training(UUID(run_id), load_settings()))
    if catalog_id is None:
        return
    try:
        app.send_task(CLEAN_UP_TASK, [catalog_id], retry=False)
    except OperationalError as error:
        log.warning("cleaning up left to the next run", error=str(error))


@app.task(name=CLEAN_UP_TASK)  # type: ignore[untyped-decorator]
def clean_up(catalog_id: str) -> None:
    """Remove what former runs of a catalogue left and nobody needs any more."""
    from services.training.cleaning import clean_up_after_runs

    asyncio.run(clean_up_after_runs(catalog_id, load_settings()))
