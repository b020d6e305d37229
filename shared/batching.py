"""Requests that arrive together, in one call of the model.

    submit(a) ─┐                      ┌─ a's result
    submit(b) ─┼─ queue ─ run([a,b,c])┼─ b's result
    submit(c) ─┘  bounded             └─ c's error

One call runs at a time. What arrives while it runs waits, and makes the next batch, so batches grow
with the load; `max_wait_ms` only matters while the model is idle.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.errors import OverloadedError, UnavailableError

In = TypeVar("In")
Out = TypeVar("Out")

MAX_RETRY_AFTER_S = 60


@dataclass(eq=False)
class _Waiting(Generic[In, Out]):
    item: In
    cost: float
    since: float
    result: "asyncio.Future[Out]"


class Batcher(Generic[In, Out]):
    """Collects items into batches for `run`.

    `run` takes the items of a batch and returns as many results, in order; an exception among the
    results is raised for its item alone. If `run` itself raises, every item of the batch gets that
    error, and the next batch goes on.

    A batch has at most `max_batch` items and, where `cost` is given (tokens, say), a total cost of
    at most `max_cost`; an item that alone costs more goes alone. At most `queue_size` items wait.
    """

    def __init__(
        self,
        run: Callable[[list[In]], Awaitable[Sequence[Out | BaseException]]],
        *,
        max_batch: int,
        max_wait_ms: float,
        queue_size: int,
        cost: Callable[[In], float] | None = None,
        max_cost: float = math.inf,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000
        self._queue_size = queue_size
        self._cost = cost
        self._max_cost = max_cost
        self._queue: deque[_Waiting[In, Out]] = deque()
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._batch_s = 0.0  # how long the last batch ran

    @property
    def waiting(self) -> int:
        """Items in the queue, those of the running batch not counted."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        return self._closed

    async def submit(self, item: In) -> Out:
        """The result of one item. A caller that is cancelled takes its item out of the queue.

        Raises:
            OverloadedError: the queue is full; `retry_after_s` is about how long it takes to empty.
            UnavailableError: the batcher was closed.
        """
        if self._closed:
            raise UnavailableError("The service is shutting down.", retry_after_s=1)
        if len(self._queue) >= self._queue_size:
            raise OverloadedError(
                f"{len(self._queue)} requests are waiting already.",
                retry_after_s=self._retry_after_s(),
            )
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        cost = 0.0 if self._cost is None else self._cost(item)
        waiting = _Waiting[In, Out](
            item, cost, time.monotonic(), asyncio.get_running_loop().create_future()
        )
        self._queue.append(waiting)
        self._changed.set()
        try:
            return await waiting.result
        except asyncio.CancelledError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            raise

    async def close(self) -> None:
        """Take no more items, finish those that wait, and end."""
        self._closed = True
        self._changed.set()
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        while True:
            await self._until_a_batch_is_due()
            batch = self._take()
            if batch:
                await self._serve(batch)
            elif self._closed:
                return

    async def _until_a_batch_is_due(self) -> None:
        """Return when the queue holds a full batch, its oldest item has waited, or we close."""
        while not self._closed:
            self._changed.clear()
            if not self._queue:
                await self._changed.wait()
                continue
            left = self._queue[0].since + self._max_wait_s - time.monotonic()
            if left <= 0 or self._is_full():
                return
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _is_full(self) -> bool:
        count, cost = 0, 0.0
        for waiting in self._queue:
            count, cost = count + 1, cost + waiting.cost
            if count >= self._max_batch or cost >= self._max_cost:
                return True
        return False

    def _take(self) -> list[_Waiting[In, Out]]:
        batch: list[_Waiting[In, Out]] = []
        cost = 0.0
        while self._queue and len(batch) < self._max_batch:
            cost += self._queue[0].cost
            if batch and cost > self._max_cost:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _serve(self, batch: list[_Waiting[In, Out]]) -> None:
        started = time.monotonic()
        results: Sequence[Out | BaseException]
        try:
            results = await self._run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for a batch of {len(batch)} items")
        except Exception as error:  # of the whole batch: every caller is told, the worker lives on
            results = [error] * len(batch)
        self._batch_s = time.monotonic() - started
        for waiting, result in zip(batch, results, strict=True):
            if waiting.result.done():
                continue  # its caller was cancelled while the batch ran
            if isinstance(result, BaseException):
                waiting.result.set_exception(result)
            else:
                waiting.result.set_result(result)

    def _retry_after_s(self) -> int:
        batches = math.ceil(len(self._queue) / self._max_batch)
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(batches * self._batch_s)))
