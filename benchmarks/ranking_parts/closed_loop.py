"""A closed loop: N requests in flight, the next one leaves when one comes back.

The clock starts after a warm-up, when a request comes back, and stops when one does: a server that
answers in batches is measured over whole ones.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.ranking_parts.workloads import History, Workload

WARM_UP_SHARE = 0.25
LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class Bounds:
    """A measurement ends after `seconds`, or after `requests` if that is sooner; it goes on until
    every place in the loop was answered about once, but not beyond `longest_s`."""

    seconds: float = 10.0
    requests: int = 5000
    longest_s: float = 90.0


@dataclass(frozen=True)
class Measured:
    """latencies: None if fewer requests than places in the loop came back in time."""

    concurrency: int
    requests: int
    per_s: float
    p50_ms: float | None
    p99_ms: float | None


async def measure(
    rank: Callable[[History], Awaitable[object]],
    workload: Workload,
    concurrency: int,
    bounds: Bounds,
) -> Measured:
    """Throughput and latency with `concurrency` requests in flight.

    Raises what `rank` raised, and TimeoutError if not even one request came back in time.
    """
    ended: list[tuple[float, float]] = []  # when, and how many seconds it took

    async def ask_again_and_again() -> None:
        while True:
            with workload.asking() as history:
                since = time.perf_counter()
                await rank(history)
                now = time.perf_counter()
                ended.append((now, now - since))

    async def until(done: Callable[[], bool], at_most_s: float) -> None:
        deadline = time.perf_counter() + at_most_s
        while not done() and time.perf_counter() < deadline:
            failed, _ = await asyncio.wait(
                loop, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
            for place in failed:
                place.result()

    loop = {asyncio.create_task(ask_again_and_again()) for _ in range(concurrency)}
    try:
        begun = time.perf_counter()
        warm = begun + WARM_UP_SHARE * bounds.seconds
        await until(
            lambda: len(ended) >= concurrency and time.perf_counter() >= warm,
            bounds.longest_s / 3,
        )
        before = len(ended)
        started = ended[-1][0] if ended else begun
        enough = time.perf_counter() + bounds.seconds
        await until(
            lambda: (
                len(ended) - before >= bounds.requests
                or (len(ended) - before >= concurrency and time.perf_counter() >= enough)
            ),
            bounds.longest_s - (time.perf_counter() - begun),
        )
    finally:
        for place in loop:
            place.cancel()
        await asyncio.gather(*loop, return_exceptions=True)
    return _measured(concurrency, ended[before:], started)


def _measured(concurrency: int, ended: list[tuple[float, float]], started: float) -> Measured:
    if not ended:
        raise TimeoutError(f"no request came back within {time.perf_counter() - started:.0f} s")
    p50 = p99 = None
    if len(ended) >= concurrency:
        p50, p99 = (1000 * float(ms) for ms in np.percentile([took for _, took in ended], [50, 99]))
    return Measured(concurrency, len(ended), len(ended) / (ended[-1][0] - started), p50, p99)
