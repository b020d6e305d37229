"""The log of training runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import TrainingLogRow


@dataclass(frozen=True)
class NewLogLine:
    logged_at: datetime
    level: str
    event: str
    fields: dict[str, Any]


class TrainingLogRepository:
    """The log of one run, within one transaction."""

    def __init__(self, session: AsyncSession, run_id: UUID) -> None:
        self._session = session
        self._run_id = run_id

    async def add(self, lines: Sequence[NewLogLine]) -> None:
        """Store lines in the given order."""
        if lines:
            await self._session.execute(
                insert(TrainingLogRow), [{"run_id": self._run_id, **asdict(line)} for line in lines]
            )

    async def after(self, line_id: int, *, limit: int) -> list[TrainingLogRow]:
        """The lines that come after one, oldest first."""
        statement = (
            select(TrainingLogRow)
            .where(TrainingLogRow.run_id == self._run_id, TrainingLogRow.id > line_id)
            .order_by(TrainingLogRow.id)
            .limit(limit)
        )
        return list((await self._session.execute(statement)).scalars())
