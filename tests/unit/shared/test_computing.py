"""The thread that computes, and those that load."""

import asyncio
import threading

import pytest

from shared.computing import compute, load


def this_thread():
    return threading.current_thread()


async def test_all_computation_is_in_one_thread_which_is_not_the_event_loops():
    threads = await asyncio.gather(*(compute(this_thread) for _ in range(20)))
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


async def test_loading_keeps_no_computation_waiting():
    computed = threading.Event()
    loading = asyncio.create_task(load(computed.wait, 60))
    await compute(computed.set)
    assert await loading


async def test_the_thread_of_a_load_ends_with_it():
    thread = await load(this_thread)
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()


@pytest.mark.parametrize("where", [compute, load])
async def test_arguments_and_errors_arrive(where):
    assert await where(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        await where(divmod, 1, 0)
