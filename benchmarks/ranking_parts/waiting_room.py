"""The queue of the peers: whatever waits, up to so many, goes into the next call."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.computing import compute

Rows = NDArray[np.int64]


class WaitingRoom:
    """One call of `run` at a time, in the computing thread: histories in, best rows of each out."""

    def __init__(self, run: Callable[[list[Rows]], Sequence[Rows]], *, at_most: int) -> None:
        self._run = run
        self._at_most = at_most
        self._queue: asyncio.Queue[tuple[Rows, asyncio.Future[Rows]]] = asyncio.Queue()
        self._worker = asyncio.create_task(self._serve())

    async def rank(self, history: Rows) -> Rows:
        """Raises what `run` raised for the call that this history was part of."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((history, future))
        return await future

    async def close(self) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            while len(waiting) < self._at_most and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            try:
                results = await compute(self._run, [history for history, _ in waiting])
            except Exception as error:
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), rows in zip(waiting, results, strict=True):
                if not future.done():
                    future.set_result(rows)
