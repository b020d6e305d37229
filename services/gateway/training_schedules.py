"""When a catalogue is trained on without being asked."""

from datetime import UTC, datetime

from services.gateway.storable import require_storable
from services.gateway.training_runs import TrainingRuns
from shared.contracts.admin import TrainingCreate, TrainingSchedule, TrainingScheduleSet
from shared.cron import next_time
from shared.database.session import Database
from shared.database.tables import TrainingScheduleRow
from shared.database.training_schedules import TrainingScheduleRepository
from shared.errors import FieldProblem, InvalidInputError, NotFoundError


class TrainingSchedules:
    def __init__(self, database: Database, runs: TrainingRuns) -> None:
        self._database = database
        self._runs = runs

    async def put(self, catalog_id: str, wanted: TrainingScheduleSet) -> TrainingSchedule:
        """Raises InvalidInputError: neither trigger is given, the cron names no time, or its runs
        could not be trained."""
        require_storable(wanted)
        if wanted.cron is None and wanted.new_interactions is None:
            raise InvalidInputError.of("cron", "give this, or new_interactions, or both")
        next_run_at = None if wanted.cron is None else next_time(wanted.cron, datetime.now(UTC))
        self._check(wanted.request)
        async with self._database.transaction() as session:
            row = await TrainingScheduleRepository(session).put(
                catalog_id,
                cron=wanted.cron,
                new_interactions=wanted.new_interactions,
                request=wanted.request.model_dump(mode="json"),
                next_run_at=next_run_at,
            )
            return _view(row)

    async def get(self, catalog_id: str) -> TrainingSchedule:
        """Raises NotFoundError where the catalogue has none."""
        async with self._database.transaction() as session:
            row = await TrainingScheduleRepository(session).get(catalog_id)
        if row is None:
            raise _none()
        return _view(row)

    async def remove(self, catalog_id: str) -> None:
        """Raises NotFoundError where the catalogue has none."""
        async with self._database.transaction() as session:
            if not await TrainingScheduleRepository(session).remove(catalog_id):
                raise _none()

    def _check(self, request: TrainingCreate) -> None:
        try:
            self._runs.check(request)
        except InvalidInputError as error:
            fields = [FieldProblem(f"request.{row.field}", row.message) for row in error.fields]
            detail = "; ".join(f"{row.field}: {row.message}" for row in fields)
            raise InvalidInputError(detail, fields=fields) from error


def _none() -> NotFoundError:
    return NotFoundError("This catalogue has no training schedule")


def _view(row: TrainingScheduleRow) -> TrainingSchedule:
    return TrainingSchedule(
        cron=row.cron,
        new_interactions=row.new_interactions,
        request=TrainingCreate.model_validate(row.request),
        next_run_at=row.next_run_at,
        updated_at=row.updated_at,
    )
