"""Training runs, and the lease that keeps one owner a run."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import TrainingRunRow
from shared.errors import ConflictError


class TrainingRunRepository:
    """The training runs of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self,
        catalog_id: str,
        request: dict[str, Any],
        *,
        trigger: str = "api",
        retry_of: TrainingRunRow | None = None,
    ) -> TrainingRunRow:
        """A queued run. retry_of: the one whose stages it goes on from, its snapshot among them.

        Raises ConflictError where another run of the catalogue is not finished.
        """
        statement = (
            insert(TrainingRunRow)
            .values(
                run_id=uuid4(),
                catalog_id=catalog_id,
                state="queued",
                request=request,
                trigger=trigger,
                retry_of=None if retry_of is None else retry_of.run_id,
                last_interaction_id=None if retry_of is None else retry_of.last_interaction_id,
                stages=[],
            )
            .on_conflict_do_nothing()
            .returning(TrainingRunRow)
        )
        row = (await self._session.execute(statement)).scalar_one_or_none()
        if row is None:
            unfinished = await self._unfinished(catalog_id)
            which = (
                " of this catalogue has just finished: ask again"
                if unfinished is None
                else f" {unfinished.run_id} is {unfinished.state}: wait for it or cancel it"
            )
            raise ConflictError(f"Training{which}")
        return row

    async def get(self, run_id: UUID) -> TrainingRunRow | None:
        return await self._session.get(TrainingRunRow, run_id)

    async def _unfinished(self, catalog_id: str) -> TrainingRunRow | None:
        """The run of a catalogue that is queued or running, if any."""
        statement = (
            select(TrainingRunRow)
            .where(
                TrainingRunRow.catalog_id == catalog_id,
                TrainingRunRow.state.in_(("queued", "running")),
            )
            .order_by(TrainingRunRow.created_at)
            .limit(1)
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def newest(
        self,
        catalog_id: str,
        *,
        limit: int,
        state: str | None = None,
        before: datetime | None = None,
    ) -> list[TrainingRunRow]:
        """Newest first: all, those of a state, those that were created before a time."""
        statement = (
            select(TrainingRunRow)
            .where(TrainingRunRow.catalog_id == catalog_id)
            .order_by(TrainingRunRow.created_at.desc())
            .limit(limit)
        )
        if state is not None:
            statement = statement.where(TrainingRunRow.state == state)
        if before is not None:
            statement = statement.where(TrainingRunRow.created_at < before)
        return list((await self._session.execute(statement)).scalars())

    async def waiting(self, *, longer_than: timedelta) -> list[UUID]:
        """Runs that were queued that long ago and that no owner has taken up, oldest first."""
        statement = (
            select(TrainingRunRow.run_id)
            .where(
                TrainingRunRow.state == "queued",
                TrainingRunRow.created_at < func.now() - longer_than,
            )
            .order_by(TrainingRunRow.created_at)
        )
        return list((await self._session.execute(statement)).scalars())

    async def finished(self, catalog_id: str) -> list[TrainingRunRow]:
        """Runs of a catalogue that are over, newest first."""
        statement = (
            select(TrainingRunRow)
            .where(
                TrainingRunRow.catalog_id == catalog_id,
                TrainingRunRow.state.in_(("succeeded", "failed", "cancelled")),
            )
            .order_by(TrainingRunRow.created_at.desc())
        )
        return list((await self._session.execute(statement)).scalars())

    async def abandoned(self) -> list[UUID]:
        """Runs that were begun and whose owner's lease ran out: someone should take them up."""
        statement = select(TrainingRunRow.run_id).where(
            TrainingRunRow.state == "running", TrainingRunRow.lease_expires_at < func.now()
        )
        return list((await self._session.execute(statement)).scalars())

    async def acquire(self, run_id: UUID, *, lease: timedelta) -> TrainingRunRow | None:
        """Become the owner of a run that has none: its row with a new, higher lease token.

        None where the run is finished, or another owner's lease still holds.
        """
        statement = (
            update(TrainingRunRow)
            .where(
                TrainingRunRow.run_id == run_id,
                TrainingRunRow.state.in_(("queued", "running")),
                or_(
                    TrainingRunRow.lease_expires_at.is_(None),
                    TrainingRunRow.lease_expires_at < func.now(),
                ),
            )
            .values(
                state="running",
                lease_token=TrainingRunRow.lease_token + 1,
                lease_expires_at=func.now() + lease,
                started_at=func.coalesce(TrainingRunRow.started_at, func.now()),
            )
            .returning(TrainingRunRow)
        )
        return (
            await self._session.execute(statement, execution_options={"populate_existing": True})
        ).scalar_one_or_none()

    async def heartbeat(
        self, run_id: UUID, token: int, *, lease: timedelta, stages: list[Any]
    ) -> bool | None:
        """Extend the lease and store the progress.

        Returns whether the run should be cancelled, or None where the lease was lost: then the
        caller must stop without writing anything more.
        """
        statement = (
            update(TrainingRunRow)
            .where(
                TrainingRunRow.run_id == run_id,
                TrainingRunRow.lease_token == token,
                TrainingRunRow.state == "running",
            )
            .values(lease_expires_at=func.now() + lease, stages=stages)
            .returning(TrainingRunRow.cancel_requested)
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def set_last_interaction(
        self, run_id: UUID, token: int, interaction_id: int | None
    ) -> bool:
        """Store up to where the run's snapshot has seen the interactions.

        False where the lease was lost, and nothing was written.
        """
        statement = (
            update(TrainingRunRow)
            .where(
                TrainingRunRow.run_id == run_id,
                TrainingRunRow.lease_token == token,
                TrainingRunRow.state == "running",
            )
            .values(last_interaction_id=interaction_id)
            .returning(TrainingRunRow.run_id)
        )
        return (await self._session.execute(statement)).scalar_one_or_none() is not None

    async def finish(
        self,
        run_id: UUID,
        token: int,
        *,
        state: str,
        stages: list[Any],
        bundle: str | None = None,
        problem: dict[str, Any] | None = None,
    ) -> bool:
        """End a run; false where the lease was lost, and nothing was written."""
        statement = (
            update(TrainingRunRow)
            .where(
                TrainingRunRow.run_id == run_id,
                TrainingRunRow.lease_token == token,
                TrainingRunRow.state == "running",
            )
            .values(
                state=state,
                stages=stages,
                bundle=bundle,
                problem=problem,
                lease_expires_at=None,
                finished_at=func.now(),
            )
            .returning(TrainingRunRow.run_id)
        )
        return (await self._session.execute(statement)).scalar_one_or_none() is not None

    async def request_cancel(self, row: TrainingRunRow) -> None:
        """Ask the owner to stop; a queued run is cancelled at once.

        Decided by the state in the database: `row` may be older than an owner's taking it up.
        """
        queued = TrainingRunRow.state == "queued"
        await self._session.execute(
            update(TrainingRunRow)
            .where(
                TrainingRunRow.run_id == row.run_id,
                TrainingRunRow.state.in_(("queued", "running")),
            )
            .values(
                cancel_requested=True,
                state=case((queued, "cancelled"), else_=TrainingRunRow.state),
                finished_at=case((queued, func.now()), else_=TrainingRunRow.finished_at),
            )
            .execution_options(synchronize_session=False)
        )
        await self._session.refresh(row)
