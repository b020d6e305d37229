"""The lease of a run or of a backfill's chunk: as long as it is held, nobody else works on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from services.training.progress_board import ProgressBoard
from shared.database.session import Database
from shared.database.training_runs import TrainingRunRepository

# Progress reaches the API with the heartbeat, so it beats oftener than the lease alone needs.
SLOWEST_HEARTBEAT_S = 2.0

log = structlog.get_logger()


# Extends the lease in the database. Returns whether to stop, or None where the lease was lost.
Beat = Callable[[AsyncSession], Awaitable[bool | None]]


class RunStoppedError(Exception):
    """The work must not go on."""


class CancelledRunError(RunStoppedError):
    """Someone asked for it to be cancelled."""


class LeaseLostError(RunStoppedError):
    """Another process owns it now: nothing more may be written."""


class Lease:
    """The token of one owner. `check` may be called from any thread."""

    def __init__(self, database: Database, token: int, length_s: float, beat: Beat) -> None:
        self._database = database
        self.token = token
        self._length_s = length_s
        self._extend = beat
        self._held_until = time.monotonic() + length_s
        self._lost = False
        self._cancelled = False
        self._may_be_cancelled = True

    def check(self) -> None:
        """Raises LeaseLostError or CancelledRunError where the work must stop now."""
        if self._lost or time.monotonic() > self._held_until:
            raise LeaseLostError("another process may own this now")
        if self._cancelled and self._may_be_cancelled:
            raise CancelledRunError("this was cancelled")

    def ignore_cancelling(self) -> None:
        """What the work is for has happened: a request to cancel it comes too late."""
        self._may_be_cancelled = False

    async def confirm(self, session: AsyncSession | None = None) -> None:
        """Beat, then check. In a transaction of the caller: it commits only as the owner, since
        the row stays locked until then.

        Raises LeaseLostError or CancelledRunError.
        """
        if session is None:
            async with self._database.transaction() as own:
                await self._beat(own)
        else:
            await self._beat(session)
        self.check()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Beats as long as the block lasts, or until the lease is lost."""
        beating = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _keep(self) -> None:
        interval = min(self._length_s / 3, SLOWEST_HEARTBEAT_S)
        while not self._lost:
            await asyncio.sleep(interval)
            try:
                async with self._database.transaction() as session:
                    await self._beat(session)
            except (SQLAlchemyError, OSError) as error:
                # `check` stops the work when this goes on for as long as the lease lasts.
                log.warning("heartbeat failed", error=str(error))

    async def _beat(self, session: AsyncSession) -> None:
        sent = time.monotonic()
        cancel = await self._extend(session)
        if cancel is None:
            self._lost = True
        else:
            self._held_until = sent + self._length_s
            self._cancelled = self._cancelled or cancel


def lease_of_run(
    database: Database, run_id: UUID, token: int, length_s: float, board: ProgressBoard
) -> Lease:
    """Its heartbeat stores the progress, too."""
    length = timedelta(seconds=length_s)

    async def beat(session: AsyncSession) -> bool | None:
        return await TrainingRunRepository(session).heartbeat(
            run_id, token, lease=length, stages=board.rows()
        )

    return Lease(database, token, length_s, beat)
