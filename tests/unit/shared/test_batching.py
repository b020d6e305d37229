"""The micro-batcher, seen through the batches that the function gets."""

import asyncio
import threading

import pytest

from shared.batching import Batcher
from shared.computing import compute
from shared.errors import OverloadedError, UnavailableError


class Doubling:
    """Doubles numbers; remembers its batches; waits at a gate that a test may close."""

    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def __call__(self, items):
        self.batches.append(list(items))
        self.entered.set()
        await self.gate.wait()
        return [item * 2 for item in items]


def batcher_of(run, **options):
    return Batcher(run, **{"max_batch": 8, "max_wait_ms": 20, "queue_size": 100, **options})


async def busy(batcher, run):
    """Keep the function running with the item 0, so that what follows has to wait."""
    run.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await run.entered.wait()
    return first


async def submitted(batcher, items):
    """Tasks of all items, each of which has reached the queue."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    while batcher.waiting < len(tasks):
        await asyncio.sleep(0)
    return tasks


async def test_items_that_arrive_together_go_to_one_call_and_each_gets_its_own_result():
    run = Doubling()
    batcher = batcher_of(run)
    assert await asyncio.gather(*map(batcher.submit, range(5))) == [0, 2, 4, 6, 8]
    assert run.batches == [[0, 1, 2, 3, 4]]


async def test_a_batch_has_at_most_max_batch_items():
    run = Doubling()
    batcher = batcher_of(run, max_batch=3)
    await asyncio.gather(*map(batcher.submit, range(7)))
    assert run.batches == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_full_batch_does_not_wait():
    run = Doubling()
    batcher = batcher_of(run, max_batch=2, max_wait_ms=3_600_000)
    assert await asyncio.gather(batcher.submit(1), batcher.submit(2)) == [2, 4]


async def test_what_arrives_during_a_call_makes_the_next_batch():
    run = Doubling()
    batcher = batcher_of(run, max_wait_ms=0)
    first = await busy(batcher, run)
    later = await submitted(batcher, [1, 2, 3])
    run.gate.set()
    assert await asyncio.gather(first, *later) == [0, 2, 4, 6]
    assert run.batches == [[0], [1, 2, 3]]


async def test_the_cost_of_a_batch_is_bounded_and_a_dear_item_goes_alone():
    run = Doubling()
    batcher = batcher_of(run, cost=float, max_cost=10)
    await asyncio.gather(*map(batcher.submit, [6, 4, 99, 5, 5, 1]))
    assert run.batches == [[6, 4], [99], [5, 5], [1]]


async def test_an_exception_among_the_results_is_raised_for_its_item_alone():
    async def run(items):
        return [ValueError(item) if item == 2 else item for item in items]

    batcher = batcher_of(run)
    results = await asyncio.gather(*map(batcher.submit, [1, 2, 3]), return_exceptions=True)
    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], ValueError)


async def test_after_a_call_that_failed_the_next_one_succeeds():
    async def run(items):
        if "bad" in items:
            raise RuntimeError("model")
        return items

    batcher = batcher_of(run)
    failed = await asyncio.gather(
        batcher.submit("bad"), batcher.submit("b"), return_exceptions=True
    )
    assert [str(error) for error in failed] == ["model", "model"]
    assert await batcher.submit("good") == "good"


async def test_a_wrong_number_of_results_is_an_error_for_every_item():
    async def run(items):
        return items[:-1]

    batcher = batcher_of(run)
    results = await asyncio.gather(*map(batcher.submit, [1, 2]), return_exceptions=True)
    assert all("1 results for a batch of 2" in str(error) for error in results)


async def test_a_full_queue_refuses_and_says_when_to_come_back():
    run = Doubling()
    batcher = batcher_of(run, queue_size=2)
    first = await busy(batcher, run)
    waiting = await submitted(batcher, [1, 2])
    with pytest.raises(OverloadedError) as caught:
        await batcher.submit(3)
    assert caught.value.retry_after_s >= 1
    run.gate.set()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4]
    assert await batcher.submit(3) == 6


async def test_a_cancelled_caller_takes_its_item_out():
    run = Doubling()
    batcher = batcher_of(run)
    first = await busy(batcher, run)
    one, two = await submitted(batcher, [1, 2])
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert batcher.waiting == 1
    run.gate.set()
    assert await asyncio.gather(first, two) == [0, 4]
    assert run.batches == [[0], [2]]


async def test_a_caller_cancelled_during_the_call_does_not_disturb_the_others():
    run = Doubling()
    batcher = batcher_of(run, max_batch=2)
    run.gate.clear()
    one, two = await submitted(batcher, [1, 2])
    await run.entered.wait()
    one.cancel()
    run.gate.set()
    assert await two == 4
    assert await batcher.submit(5) == 10


async def test_closing_finishes_what_waits_and_takes_nothing_more():
    run = Doubling()
    batcher = batcher_of(run, max_batch=2, max_wait_ms=3_600_000)
    waiting = await submitted(batcher, [1])
    await batcher.close()
    assert await waiting[0] == 2
    with pytest.raises(UnavailableError):
        await batcher.submit(2)


async def test_a_batcher_never_used_closes():
    await batcher_of(Doubling()).close()


async def test_a_blocking_function_runs_outside_the_event_loop():
    threads = []

    def double(items):
        threads.append(threading.get_ident())
        return [item * 2 for item in items]

    assert await batcher_of(lambda batch: compute(double, batch)).submit(4) == 8
    assert threads != [threading.get_ident()]
