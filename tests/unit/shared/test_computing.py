"""The thread that computes, and those apart from it."""

import asyncio
import threading

import pytest

from shared.computing import apart, compute


def this_thread():
    return threading.current_thread()


async def test_all_computation_is_in_one_thread_which_is_not_the_event_loops():
    threads = await asyncio.gather(*(compute(this_thread) for _ in range(20)))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


async def test_what_runs_apart_keeps_no_computation_waiting():
    computed = threading.Event()
    waiting = asyncio.create_task(apart(computed.wait, 60))
    await compute(computed.set)
    assert await waiting


async def test_a_thread_apart_ends_with_its_call():
    thread = await apart(this_thread)
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()


@pytest.mark.parametrize("where", [compute, apart])
async def test_arguments_and_errors_arrive(where):
    assert await where(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        await where(divmod, 1, 0)
