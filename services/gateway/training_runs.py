"""Training runs: asked for, looked at, cancelled, tried again."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.cursor import decode_moment, encode_moment
from services.gateway.storable import require_storable
from services.gateway.training_queue import TrainingQueue
from shared.contracts.admin import (
    UNFINISHED,
    RunState,
    StageProgress,
    Training,
    TrainingCreate,
    Trainings,
)
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

    def check(self, create: TrainingCreate) -> None:
        """Raises InvalidInputError: a setting that it names does not exist, or cannot have this
        value."""
        require_storable(create)
        require_trainable(create, self._settings)

    async def start(self, catalog_id: str, create: TrainingCreate) -> Training:
        """Queue a run.

        Raises:
            InvalidInputError: see `check`.
            ConflictError: another one of this catalogue is not finished yet.
        """
        self.check(create)
        async with self._database.transaction() as session:
            row = await TrainingRunRepository(session).add(
                catalog_id, create.model_dump(mode="json")
            )
            training = training_view(row)
        await self._queue.send(training.run_id)
        return training

    async def retry(self, catalog_id: str, run_id: UUID) -> Training:
        """Queue a run with the request of a former one, which goes on from its completed stages.

        Raises:
            NotFoundError: the catalogue has no such run.
            ConflictError: the run neither failed nor was cancelled, or another one is not finished.
            InvalidInputError: the settings have changed, and do not go with its request any more.
        """
        async with self._database.transaction() as session:
            former = await run_of(session, catalog_id, run_id)
            if former.state not in ("failed", "cancelled"):
                raise ConflictError(
                    f"Training {run_id} is {former.state}: only a failed or cancelled one is tried"
                    " again"
                )
            self.check(TrainingCreate.model_validate(former.request))
            row = await TrainingRunRepository(session).add(
                catalog_id, former.request, trigger="retry", retry_of=former
            )
            training = training_view(row)
        await self._queue.send(training.run_id)
        return training

    async def page(
        self, catalog_id: str, *, state: RunState | None, cursor: str | None, limit: int
    ) -> Trainings:
        """Newest first; a cursor is the creation time of the last run of the page before.

        Raises InvalidInputError for a cursor that is none of ours.
        """
        before = None if cursor is None else decode_moment(cursor)[0]
        async with self._database.transaction() as session:
            rows = await TrainingRunRepository(session).newest(
                catalog_id, limit=limit + 1, state=state, before=before
            )
            page = rows[:limit]
            # One unfinished run at most: no two of a catalogue have the same creation time.
            return Trainings(
                trainings=[training_view(row) for row in page],
                next_cursor=encode_moment(page[-1].created_at, 0) if len(rows) > limit else None,
            )

    async def get(self, catalog_id: str, run_id: UUID) -> Training:
        """Raises NotFoundError, also for a run of another catalogue."""
        async with self._database.transaction() as session:
            return training_view(await run_of(session, catalog_id, run_id))

    async def cancel(self, catalog_id: str, run_id: UUID) -> Training:
        """Ask a run to stop; it does so at its next step.

        Raises:
            NotFoundError: the catalogue has no such run.
            ConflictError: the run is finished.
        """
        async with self._database.transaction() as session:
            row = await run_of(session, catalog_id, run_id)
            if row.state not in UNFINISHED:
                raise ConflictError(f"Training {run_id} is finished: it has {row.state}")
            await TrainingRunRepository(session).request_cancel(row)
            return training_view(row)


async def run_of(session: AsyncSession, catalog_id: str, run_id: UUID) -> TrainingRunRow:
    """Raises NotFoundError, also for a run of another catalogue."""
    row = await TrainingRunRepository(session).get(run_id)
    if row is None or row.catalog_id != catalog_id:
        raise NotFoundError(f"There is no training {run_id}")
    return row


def training_view(row: TrainingRunRow) -> Training:
    return Training(
        run_id=row.run_id,
        state=row.state,
        trigger=row.trigger,
        retry_of=row.retry_of,
        stages=[StageProgress.model_validate(stage) for stage in row.stages],
        bundle=row.bundle,
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
