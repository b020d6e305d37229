"""The Celery tasks. They import the model code only where they run: in the pool's child process.

A process that has loaded torch must not fork, since its threads do not come along.
"""

import asyncio
from uuid import UUID

import structlog
from kombu.exceptions import OperationalError

from services.training.celery_app import CLEAN_UP_TASK, EMBED_CHUNK_TASK, TRAIN_TASK, app
from shared.settings import load_settings

log = structlog.get_logger()


@app.task(name=TRAIN_TASK)  # type: ignore[untyped-decorator]
def train(run_id: str) -> None:
    """Own a training run until it ends. A run that is owned or over is left alone."""
    from services.training.run import run_training

    catalog_id = asyncio.run(run_training(UUID(run_id), load_settings()))
    if catalog_id is not None:
        _send(CLEAN_UP_TASK, catalog_id, otherwise="cleaning up left to the next run")


@app.task(name=EMBED_CHUNK_TASK)  # type: ignore[untyped-decorator]
def embed_chunk(backfill_id: str) -> None:
    """Embed the next chunk of a backfill; the one after it is for whoever is free then."""
    from services.training.backfill import embed_next_chunk

    if asyncio.run(embed_next_chunk(UUID(backfill_id), load_settings())):
        _send(EMBED_CHUNK_TASK, backfill_id, otherwise="the next chunk left to the relay")


@app.task(name=CLEAN_UP_TASK)  # type: ignore[untyped-decorator]
def clean_up(catalog_id: str) -> None:
    """Remove what former runs of a catalogue left and nobody needs any more."""
    from services.training.cleaning import clean_up_after_runs

    asyncio.run(clean_up_after_runs(catalog_id, load_settings()))


def _send(task: str, argument: str, *, otherwise: str) -> None:
    try:
        app.send_task(task, [argument], retry=False)
    except OperationalError as error:
        log.warning(otherwise, error=str(error))
