"""The Celery task. It imports the model code only where it runs: in the pool's child process.

A process that has loaded torch must not fork, since its threads do not come along.
"""

import asyncio
from uuid import UUID

from services.training.celery_app import TRAIN_TASK, app
from shared.settings import load_settings


@app.task(name=TRAIN_TASK)  # type: ignore[untyped-decorator]
def train(run_id: str) -> None:
    """Own a training run until it ends. A run that is owned or over is left alone."""
    from services.training.run import run_training

    asyncio.run(run_training(UUID(run_id), load_settings()))
