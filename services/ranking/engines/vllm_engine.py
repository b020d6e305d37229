"""The engine on vLLM. It outlives vLLM's process: when that ends, another one is started.

Meanwhile `rank` raises UnavailableError at once. Items that came or went since the bundle was made
are remembered here, and told to the next process before it serves.
"""

import asyncio
import math
import time
from contextlib import suppress
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray

from services.ranking.engines.engine import ItemRows, Query, Selection, TopK
from services.ranking.engines.item_changes import ItemChanges
from services.ranking.engines.vllm_process import VllmProcess
from services.ranking.metrics import ENGINE_STARTS
from shared.artifacts.bundle import Bundle
from shared.batching import MAX_RETRY_AFTER_S
from shared.errors import OverloadedError, UnavailableError
from shared.modeling.modality import Modality
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import load_modalities, load_prompt
from shared.settings import RankingSettings

LOOK_EVERY_S = 0.2
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 60.0
RESTART_S = 30

log = structlog.get_logger()


class VllmEngine:
    """A `RankingEngine`."""

    name = "vllm"

    def __init__(self, process: VllmProcess, bundle: Bundle, settings: RankingSettings) -> None:
        self._process: VllmProcess | None = process
        self._bundle = bundle
        self._settings = settings
        self._modalities = load_modalities(bundle.ranker)
        self._prompt: PromptTemplate = load_prompt(bundle.ranker)
        self._changes = ItemChanges()
        self._changing = asyncio.Lock()
        self._present = 0
        self._lately_s = 0.0
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, bundle: Bundle, settings: RankingSettings) -> Self:
        """Raises UnavailableError where vLLM does not start."""
        return cls(await _start(bundle, settings), bundle, settings)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._modalities

    @property
    def is_ready(self) -> bool:
        return self._process is not None and not self._process.is_dead

    async def rank(self, query: Query) -> TopK:
        process = self._process
        if process is None or process.is_dead:
            raise UnavailableError("The ranking engine is starting again", retry_after_s=RESTART_S)
        if self._present >= self._settings.max_batch + self._settings.queue_size:
            raise OverloadedError(
                f"{self._present} requests are waiting already.",
                retry_after_s=self._retry_after_s(),
            )
        self._present += 1
        started = time.monotonic()
        try:
            return await process.rank(query)
        finally:
            self._present -= 1
            self._lately_s = time.monotonic() - started

    async def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        async with self._changing:
            self._changes.put(rows, items)
            if self._process is not None:
                with suppress(UnavailableError):  # it just ended; the next one is told
                    await self._process.put(rows, items)

    async def hide(self, rows: NDArray[np.int64]) -> None:
        async with self._changing:
            self._changes.hide(rows)
            if self._process is not None:
                with suppress(UnavailableError):  # it just ended; the next one is told
                    await self._process.hide(rows)

    async def warm_up(self) -> None:
        longest = np.zeros(self._prompt.max_history, dtype=np.int64)
        query = Query(longest, Selection(10, None, np.zeros(0, dtype=np.int64)))
        await asyncio.gather(*(self.rank(query) for _ in range(self._settings.max_batch)))

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])
        if self._process is not None:
            await self._process.close()
            self._process = None

    async def _watch(self) -> None:
        """Start the process again whenever it has ended."""
        pause = FIRST_PAUSE_S
        started = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._process is None or not self._process.is_dead:
                continue
            log.error("ranking engine ended", bundle=self._bundle.manifest.version)
            dead, self._process = self._process, None
            await dead.close()
            # One that ends again and again must not keep a core busy with starting.
            if time.monotonic() - started < STEADY_AFTER_S:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                pause = FIRST_PAUSE_S
            while not await self._start_again():
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            started = time.monotonic()

    async def _start_again(self) -> bool:
        try:
            process = await _start(self._bundle, self._settings)
            async with self._changing:
                for rows, items in self._changes.batches():
                    await process.put(rows, items)
                await process.hide(self._changes.hidden)
                self._process = process
        except UnavailableError as error:
            log.error("ranking engine does not start", error=str(error))
            return False
        log.info("ranking engine serves again", bundle=self._bundle.manifest.version)
        return True

    def _retry_after_s(self) -> int:
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(self._lately_s)))


async def _start(bundle: Bundle, settings: RankingSettings) -> VllmProcess:
    process = await VllmProcess.start(bundle, settings)
    ENGINE_STARTS.inc()
    return process
