"""From the start of a stack to its end, whatever ends it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from infra.local.stack import Stack
from infra.local.supervisor import OnLine, Supervisor

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What happens while the stack is up; the stack stops when it returns.
Story = Callable[[Stack, Supervisor], Awaitable[None]]


async def run_stack(stack: Stack, *, on_line: OnLine, story: Story) -> signal.Signals | None:
    """Start everything, let the story happen, stop everything; the caller holds the folder's lock.

    Returns the signal that ended it, or None where the story ended by itself. A first SIGINT,
    SIGTERM or SIGHUP stops the stack in order; a second one ends it at once.

    Raises:
        ServiceFailedError: a service cannot be kept running; everything has been stopped.
    """
    stack.prepare()
    stack.state.describe(stack.description(ready=False))
    supervisor = Supervisor(stack.services(), on_line=on_line)
    signalled = _signal_future()
    playing = asyncio.create_task(_play(stack, supervisor, story))
    try:
        await asyncio.wait((playing, signalled), return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
        return signalled.result() if signalled.done() else None
    finally:
        playing.cancel()
        await asyncio.wait({playing})
        await supervisor.stop()
        stack.state.forget()


async def _play(stack: Stack, supervisor: Supervisor, story: Story) -> None:
    await supervisor.start()
    stack.state.describe(stack.description(ready=True))
    telling = asyncio.ensure_future(story(stack, supervisor))
    watching = asyncio.create_task(supervisor.watch())
    try:
        await asyncio.wait((telling, watching), return_when=asyncio.FIRST_COMPLETED)
        (telling if telling.done() else watching).result()
    finally:
        telling.cancel()
        watching.cancel()
        await asyncio.wait((telling, watching))


def _signal_future() -> "asyncio.Future[signal.Signals]":
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        if arrived.done():
            os._exit(128 + number)  # the services are tied to this process: they end with it
        arrived.set_result(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    return arrived
