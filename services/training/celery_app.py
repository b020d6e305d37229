"""The Celery app. Postgres knows which runs there are; the broker only carries their ids."""

from typing import Any

from celery import Celery, signals

from shared.settings import Settings, load_settings

QUEUE = "training"
TRAIN_TASK = "mmesid.train"


def make_celery(settings: Settings) -> Celery:
    """The app for sending and for receiving; it connects only when it is used."""
    app = Celery("mmesid", broker=settings.redis.url, include=["services.training.tasks"])
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A message that is not acknowledged for this long is delivered again. Runs take longer, but
        # whoever gets one that is owned does nothing; of a killed owner the lease is over by then.
        # Without the last two options a killed worker's message comes back only after minutes.
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
