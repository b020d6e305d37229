"""`python -m services.training worker` and `python -m services.training relay`."""

import argparse
import asyncio
import warnings
from collections.abc import Sequence

from services.training.celery_app import QUEUES
from shared.settings import Settings, load_settings
from shared.telemetry import configure_logs


def main() -> None:
    parser = argparse.ArgumentParser(prog="services.training", description=__doc__)
    parser.add_argument("role", choices=("worker", "relay"))
    parser.add_argument(
        "--queues",
        type=_queues,
        default=QUEUES,
        help=f"what the worker works on (default: {','.join(QUEUES)})",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=None,
        help="the relay's Prometheus metrics (default: off)",
    )
    arguments = parser.parse_args()
    settings = load_settings()
    configure_logs(arguments.role, settings.log_level, settings.log_format)
    if arguments.role == "worker":
        work(settings, arguments.queues)
    else:
        from services.training.relay import relay_forever

        asyncio.run(relay_forever(settings, metrics_port=arguments.metrics_port))


def _queues(names: str) -> tuple[str, ...]:
    queues = tuple(names.split(","))
    for name in queues:
        if name not in QUEUES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(QUEUES)}")
    return queues


def work(settings: Settings, queues: Sequence[str]) -> None:
    """Run the Celery worker: one task at a time, in a child process."""
    from celery.platforms import SecurityWarning

    from services.training.celery_app import app

    # A process holds on to the memory of its GPU, which the next run then lacks.
    on_gpu = "gpu" in queues and settings.training.queue == "gpu"
    # Root in a container is the root of that container only; messages are plain JSON.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=prefork",
            "--concurrency=1",
            f"--queues={','.join(queues)}",
            *(["--max-tasks-per-child=1"] if on_gpu else []),
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings.log_level}",
        ]
    )


if __name__ == "__main__":
    main()
