"""The lease of a run: as long as it is held, no other process works on the run."""

import asyncio
import time
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


class RunStoppedError(Exception):
    """The run must not go on."""


class CancelledRunError(RunStoppedError):
    """Someone asked for the run to be cancelled."""


class LeaseLostError(RunStoppedError):
    """Another process owns the run now: nothing more may be written."""


class Lease:
    """The token of one owner. `check` may be called from any thread."""

    def __init__(
        self, database: Database, run_id: UUID, token: int, length_s: float, board: ProgressBoard
    ) -> None:
        self._database = database
        self._run_id = run_id
        self.token = token
        self._length = timedelta(seconds=length_s)
        self._board = board
        self._held_until = time.monotonic() + length_s
        self._lost = False
        self._cancelled = False
        self._may_be_cancelled = True

    def check(self) -> None:
        """Raises LeaseLostError or CancelledRunError where the run must stop now."""
        if self._lost or time.monotonic() > self._held_until:
            raise LeaseLostError("another process may own this run now")
        if self._cancelled and self._may_be_cancelled:
            raise CancelledRunError("the run was cancelled")

    def ignore_cancelling(self) -> None:
        """What the run is for has happened: a request to cancel it comes too late."""
        self._may_be_cancelled = False

    async def confirm(self, session: AsyncSession | None = None) -> None:
        """Beat, then check. In a transaction of the caller: it commits only as the run's owner,
        since the run's row stays locked until then.

        Raises LeaseLostError or CancelledRunError.
        """
        if session is None:
            async with self._database.transaction() as own:
                await self._beat(own)
        else:
            await self._beat(session)
        self.check()

    async def keep(self) -> None:
        """Beat until this task is cancelled, or the lease is lost."""
        interval = min(self._length.total_seconds() / 3, SLOWEST_HEARTBEAT_S)
        while not self._lost:
            await asyncio.sleep(interval)
            try:
                async with self._database.transaction() as session:
                    await self._beat(session)
            except (SQLAlchemyError, OSError) as error:
                # `check` stops the run when this goes on for as long as the lease lasts.
                log.warning("heartbeat failed", error=str(error))

    async def _beat(self, session: AsyncSession) -> None:
        sent = time.monotonic()
        cancel = await TrainingRunRepository(session).heartbeat(
            self._run_id, self.token, lease=self._length, stages=self._board.rows()
        )
        if cancel is None:
            self._lost = True
        else:
            self._held_until = sent + self._length.total_seconds()
            self._cancelled = self._cancelled or cancel
