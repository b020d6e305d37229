"""Runs that nobody asks for one by one: by the clock, and by the volume of new interactions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.training.resources import Resources
from shared.cron import next_time
from shared.database.interactions import InteractionRepository
from shared.database.tables import TrainingScheduleRow
from shared.database.training_runs import TrainingRunRepository
from shared.database.training_schedules import TrainingScheduleRepository
from shared.errors import ConflictError, InvalidInputError

# New interactions do not start a run again at once after one that failed or was cancelled.
PAUSE_AFTER_FAILURE = timedelta(hours=1)

log = structlog.get_logger()


def now_in_utc() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """Several may look at once: a schedule's row is locked while one of them decides.

    It only adds the runs: the resender sends their tasks.
    """

    def __init__(self, resources: Resources, *, now: Callable[[], datetime] = now_in_utc) -> None:
        self._database = resources.database
        self._now = now

    async def start_due(self) -> list[UUID]:
        """Returns the runs that were started."""
        async with self._database.transaction() as session:
            catalogs = await TrainingScheduleRepository(session).catalogs()
        started: list[UUID] = []
        for catalog_id in catalogs:
            async with self._database.transaction() as session:
                row = await TrainingScheduleRepository(session).take(catalog_id)
                run_id = None if row is None else await self._start(session, row)
            if run_id is not None:
                started.append(run_id)
        return started

    async def _start(self, session: AsyncSession, row: TrainingScheduleRow) -> UUID | None:
        """One run, however many times have passed; None where none is due, or one is under way."""
        now = self._now()
        trigger = await self._trigger(session, row, now)
        if trigger is None:
            return None
        try:
            run = await TrainingRunRepository(session).add(
                row.catalog_id, row.request, trigger=trigger
            )
        except ConflictError:
            return None
        if trigger == "schedule":
            row.next_run_at = _next(row, now)
        log.info("run started", catalog_id=row.catalog_id, run_id=str(run.run_id), trigger=trigger)
        return run.run_id

    async def _trigger(
        self, session: AsyncSession, row: TrainingScheduleRow, now: datetime
    ) -> str | None:
        if row.next_run_at is not None and row.next_run_at <= now:
            return "schedule"
        if row.new_interactions is not None and await self._is_enough(session, row, now):
            return "volume"
        return None

    async def _is_enough(
        self, session: AsyncSession, row: TrainingScheduleRow, now: datetime
    ) -> bool:
        """Whether so many interactions came since those of the newest succeeded run."""
        runs = TrainingRunRepository(session)
        for newest in await runs.newest(row.catalog_id, limit=1):
            if newest.finished_at is None:
                return False
            failed = newest.state != "succeeded"
            if failed and now < newest.finished_at + PAUSE_AFTER_FAILURE:
                return False
        succeeded = await runs.newest(row.catalog_id, limit=1, state="succeeded")
        last = succeeded[0].last_interaction_id if succeeded else None
        wanted = row.new_interactions or 0
        interactions = InteractionRepository(session, row.catalog_id)
        return await interactions.count_after(last or 0, at_most=wanted) >= wanted


def _next(row: TrainingScheduleRow, now: datetime) -> datetime | None:
    if row.cron is None:
        return None
    try:
        return next_time(row.cron, now)
    except InvalidInputError as error:
        log.error("schedule ends", catalog_id=row.catalog_id, error=error.detail)
        return None
