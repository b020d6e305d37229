"""The relay: finishes accepted changes of items, sees to it that no training run and no chunk of a
backfill is forgotten, and starts the runs that the schedules ask for.

Several may run at once: rows of the outbox and of the schedules are taken with SKIP LOCKED, and a
run's task is sent by whoever first takes a key in Redis.
"""

import asyncio
import random
import signal
from collections import Counter as CountOf
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from prometheus_client import Counter, Gauge, start_http_server
from sqlalchemy.exc import SQLAlchemyError

from services.training.backfill_sending import BackfillSender
from services.training.forgetting import forget_recommendations
from services.training.resend import Resender
from services.training.resources import Resources, open_resources
from services.training.scheduling import Scheduler
from shared.database.outbox import OutboxRepository
from shared.database.tables import OutboxRow
from shared.errors import MmesidError
from shared.ingestion.change import Outcome, change_of
from shared.settings import RelaySettings, Settings

# Claimed rows come back when their relay dies; processing a batch takes far less.
CLAIM_S = 120.0
FORGET_EVERY_S = 60.0
LONGEST_LOGGED_ERROR = 500

CHANGES = Counter("mmesid_relay_changes_total", "Changes of items, by how they ended", ["result"])
WAITING = Gauge("mmesid_relay_waiting_changes", "Changes of items in the outbox")

log = structlog.get_logger()


def retry_pause(attempts: int, settings: RelaySettings) -> timedelta:
    """Exponential back-off after the given number of attempts, with jitter, capped."""
    seconds = settings.first_retry_s * 2.0 ** min(attempts - 1, 30)
    capped = min(seconds, settings.max_retry_s)
    return timedelta(seconds=capped * random.uniform(0.8, 1.0))


class Relay:
    """One relay process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._settings = resources.settings.relay

    async def deliver(self) -> int:
        """Claim changes that are due and process them; returns how many were claimed."""
        async with self._resources.database.transaction() as session:
            outbox = OutboxRepository(session)
            rows = await outbox.claim(self._settings.batch_size, lease=timedelta(seconds=CLAIM_S))
            WAITING.set(await outbox.depth())
        by_catalog: dict[str, list[OutboxRow]] = defaultdict(list)
        for row in rows:
            by_catalog[row.catalog_id].append(row)
        for catalog_id, changes in by_catalog.items():
            await self._process(catalog_id, changes)
        return len(rows)

    async def _process(self, catalog_id: str, rows: Sequence[OutboxRow]) -> None:
        try:
            outcomes = await self._resources.pipeline.process(
                catalog_id, [change_of(row) for row in rows]
            )
        except MmesidError as error:
            await self._postpone(catalog_id, [(row, error.detail) for row in rows])
            return
        except Exception as error:
            # A defect met by one batch must not end the relay for all others.
            log.exception("changes not processed", catalog_id=catalog_id)
            await self._postpone(catalog_id, [(row, repr(error)) for row in rows])
            return
        left = [
            (row, outcome.error.detail if outcome.error else outcome.result.value)
            for row, outcome in zip(rows, outcomes, strict=True)
            if not outcome.is_final
        ]
        await self._postpone(catalog_id, left)
        _count(catalog_id, outcomes)

    async def _postpone(self, catalog_id: str, rows: Sequence[tuple[OutboxRow, str]]) -> None:
        if not rows:
            return
        async with self._resources.database.transaction() as session:
            outbox = OutboxRepository(session)
            for row, error in rows:
                await outbox.postpone(
                    catalog_id,
                    row.item_id,
                    row.item_version,
                    by=retry_pause(row.attempts, self._settings),
                    error=error[:LONGEST_LOGGED_ERROR],
                )
        log.warning("changes postponed", catalog_id=catalog_id, changes=len(rows), error=rows[0][1])


def _count(catalog_id: str, outcomes: Sequence[Outcome]) -> None:
    results = CountOf(outcome.result.value for outcome in outcomes)
    for result, number in results.items():
        CHANGES.labels(result=result).inc(number)
    log.info("changes processed", catalog_id=catalog_id, **results)


async def relay_forever(settings: Settings, *, metrics_port: int | None = None) -> None:
    """Run until SIGTERM or SIGINT; the batch at hand is finished first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if metrics_port is not None:
        start_http_server(metrics_port, addr=settings.server.host)
    async with open_resources(settings) as resources:
        log.info("relay started")
        await asyncio.gather(
            _deliver_until(stop, Relay(resources), settings.relay.interval_s),
            _repeat_until(stop, Resender(resources).resend, settings.relay.interval_s),
            _repeat_until(stop, BackfillSender(resources).send, settings.relay.interval_s),
            _repeat_until(stop, Scheduler(resources).start_due, settings.relay.schedule_interval_s),
            _repeat_until(
                stop,
                lambda: forget_recommendations(resources),
                FORGET_EVERY_S,
                failed="lists given not forgotten",
            ),
        )
        log.info("relay stopped")


async def _deliver_until(stop: asyncio.Event, relay: Relay, interval_s: float) -> None:
    while not stop.is_set():
        try:
            claimed = await relay.deliver()
        except (SQLAlchemyError, OSError) as error:
            log.warning("outbox not read", error=str(error))
            claimed = 0
        if claimed == 0:
            await _pause(stop, interval_s)


async def _repeat_until(
    stop: asyncio.Event,
    step: Callable[[], Awaitable[object]],
    interval_s: float,
    *,
    failed: str = "training runs or backfills not read",
) -> None:
    while not stop.is_set():
        try:
            await step()
        except (SQLAlchemyError, OSError) as error:
            log.warning(failed, error=str(error))
        await _pause(stop, interval_s)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
