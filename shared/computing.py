"""Where a process computes with torch: in one thread.

On the CPU torch shares out each operation among a team of OpenMP threads, and every thread that
calls torch has a team of its own. Once all teams together have more threads than there are cores,
helpers that are idle sleep instead of waiting for the next operation, and have to be woken for each
one. A second team, even an idle one, makes small operations take up to twice as long.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="computing")


async def compute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in the process's computing thread, after those that wait for it."""
    return await asyncio.wrap_future(_THREAD.submit(function, *args, **kwargs))


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a thread of its own, which ends with the call, and its team too.

    For what must not keep computations waiting, such as reading a model, or must not wait for them.
    """
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="apart")
    try:
        return await asyncio.wrap_future(thread.submit(function, *args, **kwargs))
    finally:
        thread.shutdown(wait=False)
