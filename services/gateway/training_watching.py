"""A training run as it goes on: its log, and its progress as a stream of events."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.training_runs import run_of, training_view
from shared.contracts.admin import UNFINISHED, Training, TrainingLog, TrainingLogLine
from shared.database.session import Database
from shared.database.tables import TrainingLogRow
from shared.database.training_log import TrainingLogRepository

POLL_S = 0.5
LINES_A_POLL = 500


class TrainingWatcher:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def log(self, catalog_id: str, run_id: UUID, *, after: int, limit: int) -> TrainingLog:
        """Raises NotFoundError where the catalogue has no such run."""
        _, lines = await self._look(catalog_id, run_id, after, limit)
        return TrainingLog(lines=lines, next_after=lines[-1].id if lines else after)

    async def follow(
        self, catalog_id: str, run_id: UUID, *, after: int
    ) -> AsyncIterator[ServerSentEvent]:
        """`progress` with the run whenever it changed, `log` for each line after the given one, and
        `end` with the run when it is over.

        A database that is away for a while ends nothing.
        """
        shown: Training | None = None
        while True:
            try:
                training, lines = await self._look(catalog_id, run_id, after, LINES_A_POLL)
            except (SQLAlchemyError, OSError):
                await asyncio.sleep(POLL_S)
                continue
            was_over = shown is not None and shown.state not in UNFINISHED
            if training != shown:
                yield _event("progress", training)
                shown = training
            for line in lines:
                yield _event("log", line, id=str(line.id))
                after = line.id
            # The worker writes its last lines just after the run's end: those come with one look
            # more.
            if was_over and len(lines) < LINES_A_POLL:
                yield _event("end", training)
                return
            await asyncio.sleep(POLL_S)

    async def _look(
        self, catalog_id: str, run_id: UUID, after: int, limit: int
    ) -> tuple[Training, list[TrainingLogLine]]:
        async with self._database.transaction() as session:
            training = training_view(await run_of(session, catalog_id, run_id))
            rows = await TrainingLogRepository(session, run_id).after(after, limit=limit)
        return training, [_line(row) for row in rows]


def _line(row: TrainingLogRow) -> TrainingLogLine:
    return TrainingLogLine(
        id=row.id, logged_at=row.logged_at, level=row.level, event=row.event, fields=row.fields
    )


def _event(name: str, document: BaseModel, *, id: str | None = None) -> ServerSentEvent:
    # ASCII: characters such as U+2028 would be taken for the end of the line.
    return ServerSentEvent(event=name, id=id, raw_data=json.dumps(document.model_dump(mode="json")))
