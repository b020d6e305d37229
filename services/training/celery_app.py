"""The Celery app. Postgres knows which runs there are; the broker only carries their ids."""

from typing import Any

from celery import Celery, signals

from shared.settings import Settings, load_settings

# Trainings go to `cpu` or `gpu`, by the settings; backfills to `cpu`, since the embedding service
# computes for them; what brings the stores up to date to `sync`.
QUEUES = ("cpu", "gpu", "sync")
TRAIN_TASK = "mmesid.train"
EMBED_CHUNK_TASK = "mmesid.embed_chunk"
BACKFILL_QUEUE = "cpu"
CLEAN_UP_TASK = "mmesid.clean_up"


def make_celery(settings: Settings) -> Celery:
    """The app for sending and for receiving; it connects only when it is used."""
    app = Celery("mmesid", broker=settings.redis.url, include=["services.training.tasks"])
    app.conf.update(
        task_default_queue="cpu",
        task_routes={
            TRAIN_TASK: {"queue": settings.training.queue},
            EMBED_CHUNK_TASK: {"queue": BACKFILL_QUEUE},
            CLEAN_UP_TASK: {"queue": "sync"},
        },
        task_ignore_result=True,
        # A message is acknowledged before its task begins: who works on a run is decided by the
        # lease in the database, and the relay sends the tasks of runs that nobody works on again.
        task_acks_late=False,
        task_track_started=False,
        # A worker takes a message when it is free, and leaves it to the others until then.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # For the moment between a message's delivery and its acknowledgement.
        broker_transport_options={
            "visibility_timeout": int(2 * settings.training.lease_s),
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
    )
    return app


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def keep_our_logs(**_: Any) -> None:
    """A receiver of this signal keeps Celery from setting up logs of its own."""


app = make_celery(load_settings())
