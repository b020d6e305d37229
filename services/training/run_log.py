"""What a worker logs about a run, kept in the database beside it."""

import asyncio
import logging
import math
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.database.session import Database
from shared.database.training_log import NewLogLine, TrainingLogRepository

WRITE_EVERY_S = 1.0
# So many lines wait for a database that is away; what comes beyond them is counted.
MOST_WAITING = 10_000
LONGEST_TEXT = 10_000
# Columns of their own, or the same in all lines of a run.
NOT_A_FIELD = ("event", "level", "timestamp", "run_id", "service")


class RunLog(logging.Handler):
    """Takes the lines that structlog hands to the root logger of this process.

        async with RunLog(database, run_id):
            ...

    They are written once a second, and at the end of the block.
    """

    def __init__(self, database: Database, run_id: UUID) -> None:
        super().__init__()
        self._database = database
        self._run_id = run_id
        self._waiting: list[NewLogLine] = []
        self._lost = 0
        self._waiting_lock = Lock()
        self._over = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "RunLog":
        logging.getLogger().addHandler(self)
        self._writing = asyncio.create_task(self._write_until_over())
        return self

    async def __aexit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        self._over.set()
        if self._writing is not None:
            await self._writing

    def emit(self, record: logging.LogRecord) -> None:
        """Of any thread. Lines that are not structlog's are left out."""
        if not isinstance(record.msg, dict):
            return
        try:
            line = _line(record.msg, record)
        except Exception:  # whatever a logged value does when it is written out
            self.handleError(record)
            return
        with self._waiting_lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(line)
            else:
                self._lost += 1

    async def write(self) -> None:
        """Store what waits; it goes on waiting where the database is away."""
        with self._waiting_lock:
            lines, lost = list(self._waiting), self._lost
        if lost:
            lines.append(
                NewLogLine(datetime.now(UTC), "warning", "log lines lost", {"lines": lost})
            )
        if not lines:
            return
        try:
            async with self._database.transaction() as session:
                await TrainingLogRepository(session, self._run_id).add(lines)
        except (SQLAlchemyError, OSError):
            return
        with self._waiting_lock:
            del self._waiting[: len(lines) - bool(lost)]
            self._lost -= lost

    async def _write_until_over(self) -> None:
        while not self._over.is_set():
            await self.write()
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._over.wait()
        await self.write()


def _line(event: dict[str, Any], record: logging.LogRecord) -> NewLogLine:
    # The other handlers are given the same dictionary.
    fields = structlog.processors.format_exc_info(None, "", dict(event))
    return NewLogLine(
        logged_at=datetime.fromtimestamp(record.created, UTC),
        level=record.levelname.lower(),
        event=_storable(str(event.get("event", ""))),
        fields={
            str(name): _storable(value)
            for name, value in dict(fields).items()
            if name not in NOT_A_FIELD
        },
    )


def _storable(value: Any) -> Any:
    """As JSON that Postgres takes: it has no NUL, no lone surrogates and no NaN."""
    if isinstance(value, str):
        text = value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
        return text[:LONGEST_TEXT]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict):
        return {_storable(str(name)): _storable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(entry) for entry in value]
    return _storable(str(value))
