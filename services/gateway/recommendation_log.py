"""Lists that were given, written to the database after their answers have gone out."""

import asyncio
from collections import deque
from contextlib import suppress

import structlog
from prometheus_client import Counter

from services.gateway.problems import DATABASE_AWAY
from shared.database.recommendations import GivenRecommendation, RecommendationRepository
from shared.database.session import Database

MOST_WAITING = 20_000
BATCH = 500
WRITE_EVERY_S = 0.5
FLUSH_AT_MOST_S = 5.0

DROPPED = Counter(
    "mmesid_gateway_recommendations_dropped_total",
    "Lists given that no metric will count: the database was away for too long, or refused them.",
)

log = structlog.get_logger()


class RecommendationLog:
    """`add` never waits. While the database is away rows wait, and the oldest give way."""

    def __init__(self, database: Database, *, most_waiting: int = MOST_WAITING) -> None:
        self._database = database
        self._most_waiting = most_waiting
        self._waiting: deque[GivenRecommendation] = deque()
        self._stop = asyncio.Event()
        self._many = asyncio.Event()
        self._is_away = False
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write, in the background."""
        self._writing = asyncio.create_task(self._write_until_stopped())

    def add(self, given: GivenRecommendation) -> None:
        """Have a list written soon."""
        self._waiting.append(given)
        self._drop_oldest()
        if len(self._waiting) >= BATCH:
            self._many.set()

    async def close(self) -> None:
        """Write what waits, as far as the database takes it in a few seconds."""
        self._stop.set()
        self._many.set()
        if self._writing is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._writing, FLUSH_AT_MOST_S)
        if self._waiting:
            log.warning("lists given are not counted", lists=len(self._waiting))
            DROPPED.inc(len(self._waiting))

    async def _write_until_stopped(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._many.wait()
            self._many.clear()
            await self._write_waiting()
            if self._is_away:
                # More and more rows must not make it ask more and more often.
                with suppress(TimeoutError):
                    async with asyncio.timeout(WRITE_EVERY_S):
                        await self._stop.wait()
        await self._write_waiting()

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                async with self._database.transaction() as session:
                    await RecommendationRepository(session).add(batch)
            except (*DATABASE_AWAY, OSError) as error:
                self._put_back(batch)
                if not self._is_away:
                    log.warning("lists given wait for the database", error=type(error).__name__)
                self._is_away = True
                return
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            except Exception as error:  # what one batch meets must not end the log for all others
                DROPPED.inc(len(batch))
                log.error("lists given were refused", lists=len(batch), exc_info=error)
            self._is_away = False

    def _put_back(self, batch: list[GivenRecommendation]) -> None:
        self._waiting.extendleft(reversed(batch))
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._most_waiting:
            self._waiting.popleft()
            DROPPED.inc()
