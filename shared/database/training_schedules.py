"""When catalogues are trained on without being asked."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import TrainingScheduleRow


class TrainingScheduleRepository:
    """The schedules of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(
        self,
        catalog_id: str,
        *,
        cron: str | None,
        new_interactions: int | None,
        request: dict[str, Any],
        next_run_at: datetime | None,
    ) -> TrainingScheduleRow:
        """Set the schedule of a catalogue, in the place of the one that it has."""
        values = {
            "cron": cron,
            "new_interactions": new_interactions,
            "request": request,
            "next_run_at": next_run_at,
        }
        statement = (
            insert(TrainingScheduleRow)
            .values(catalog_id=catalog_id, **values)
            .on_conflict_do_update(
                index_elements=["catalog_id"], set_={**values, "updated_at": func.now()}
            )
            .returning(TrainingScheduleRow)
        )
        return (
            await self._session.execute(statement, execution_options={"populate_existing": True})
        ).scalar_one()

    async def get(self, catalog_id: str) -> TrainingScheduleRow | None:
        return await self._session.get(TrainingScheduleRow, catalog_id)

    async def remove(self, catalog_id: str) -> bool:
        """False where there was none."""
        statement = (
            delete(TrainingScheduleRow)
            .where(TrainingScheduleRow.catalog_id == catalog_id)
            .returning(TrainingScheduleRow.catalog_id)
            .execution_options(synchronize_session=False)
        )
        return (await self._session.execute(statement)).scalar_one_or_none() is not None

    async def catalogs(self) -> list[str]:
        """The catalogues that have a schedule."""
        statement = select(TrainingScheduleRow.catalog_id).order_by(TrainingScheduleRow.catalog_id)
        return list((await self._session.execute(statement)).scalars())

    async def take(self, catalog_id: str) -> TrainingScheduleRow | None:
        """A schedule that nobody else takes before this transaction ends; None where another
        relay has it now, or it is gone."""
        statement = (
            select(TrainingScheduleRow)
            .where(TrainingScheduleRow.catalog_id == catalog_id)
            .with_for_update(skip_locked=True)
        )
        return (await self._session.execute(statement)).scalar_one_or_none()
