"""Training runs: asked for, looked at, cancelled."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.storable import require_storable
from services.gateway.training_queue import TrainingQueue
from shared.contracts.admin import StageProgress, Training, TrainingCreate, Trainings
from shared.contracts.common import Problem
from shared.database.session import Database
from shared.database.tables import TrainingRunRow
from shared.database.training_runs import TrainingRunRepository
from shared.errors import ConflictError, NotFoundError
from shared.run_configs import require_trainable
from shared.settings import TrainingSettings


class TrainingRuns:
    def __init__(
        self, database: Database, queue: TrainingQueue, settings: TrainingSettings
    ) -> None:
        self._database = database
        self._queue = queue
        self._settings = settings

    async def start(self, catalog_id: str, create: TrainingCreate) -> Training:
        """Queue a run.

        Raises:
            InvalidInputError: a setting that it names does not exist, or cannot have this value.
            ConflictError: another one of this catalogue is not finished yet.
        """
        require_storable(create)
        require_trainable(create, self._settings)
        async with self._database.transaction() as session:
            row = await TrainingRunRepository(session).add(
                catalog_id, create.model_dump(mode="json")
            )
            training = _view(row)
        await self._queue.send(training.run_id)
        return training

    async def newest(self, catalog_id: str, *, limit: int) -> Trainings:
        async with self._database.transaction() as session:
            rows = await TrainingRunRepository(session).newest(catalog_id, limit=limit)
            return Trainings(trainings=[_view(row) for row in rows])

    async def get(self, catalog_id: str, run_id: UUID) -> Training:
        """Raises NotFoundError, also for a run of another catalogue."""
        async with self._database.transaction() as session:
            return _view(await _run(session, catalog_id, run_id))

    async def cancel(self, catalog_id: str, run_id: UUID) -> Training:
        """Ask a run to stop; it does so at its next step.

        Raises:
            NotFoundError: the catalogue has no such run.
            ConflictError: the run is finished.
        """
        async with self._database.transaction() as session:
            row = await _run(session, catalog_id, run_id)
            if row.state not in ("queued", "running"):
                raise ConflictError(f"Training {run_id} is finished: it has {row.state}")
            await TrainingRunRepository(session).request_cancel(row)
            return _view(row)


async def _run(session: AsyncSession, catalog_id: str, run_id: UUID) -> TrainingRunRow:
    row = await TrainingRunRepository(session).get(run_id)
    if row is None or row.catalog_id != catalog_id:
        raise NotFoundError(f"There is no training {run_id}")
    return row


def _view(row: TrainingRunRow) -> Training:
    return Training(
        run_id=row.run_id,
        state=row.state,
        stages=[StageProgress.model_validate(stage) for stage in row.stages],
        bundle=row.bundle,
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
