import asyncio

import pytest

from benchmarks.ranking_parts.closed_loop import Bounds, measure
from benchmarks.ranking_parts.made_up_bundle import popularity
from benchmarks.ranking_parts.workloads import NewUsers

QUICK = Bounds(seconds=0.2, requests=10_000, longest_s=2)


@pytest.fixture
def users():
    return NewUsers(popularity(100), 3, seed=0)


async def test_as_many_requests_are_in_flight_as_asked_for(users):
    in_flight, most = 0, 0

    async def rank(history):
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.001)
        in_flight -= 1

    found = await measure(rank, users, 5, QUICK)
    assert most == found.concurrency == 5
    assert found.requests > 5
    assert found.p50_ms <= found.p99_ms


async def test_it_ends_after_the_requests_wanted(users):
    async def rank(history):
        await asyncio.sleep(0)

    found = await measure(rank, users, 2, Bounds(seconds=60, requests=20, longest_s=3))
    assert found.requests >= 20


async def test_an_error_of_a_request_ends_the_measurement(users):
    async def rank(history):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await measure(rank, users, 2, QUICK)


async def test_no_answer_in_time_is_an_error(users):
    with pytest.raises(TimeoutError, match="no request came back"):
        await measure(lambda _: asyncio.Event().wait(), users, 2, Bounds(longest_s=0.3))


async def test_too_few_answers_say_nothing_of_latency(users):
    numbers = iter(range(100))

    async def rank(history):
        """One answer, after the warm-up, then silence."""
        await (asyncio.sleep(0.3) if next(numbers) == 0 else asyncio.Event().wait())

    found = await measure(rank, users, 3, Bounds(seconds=0.1, requests=100, longest_s=0.6))
    assert found.requests == 1
    assert found.p50_ms is None
    assert found.p99_ms is None


async def test_whole_batches_are_measured(users):
    """Two places in the loop, answered together every 60 ms: never more than 2 in that time."""
    batch: list[asyncio.Event] = []

    async def rank(history):
        answered = asyncio.Event()
        batch.append(answered)
        if len(batch) == 2:
            await asyncio.sleep(0.06)
            for event in batch:
                event.set()
            batch.clear()
        await answered.wait()

    found = await measure(rank, users, 2, Bounds(seconds=0.1, requests=1000, longest_s=3))
    assert found.requests % 2 == 0
    assert found.per_s < 2 / 0.059
