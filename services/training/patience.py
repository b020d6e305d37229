"""Waiting for a service that is not there: a training of an hour must not fail for a restart."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.errors import OverloadedError, UnavailableError

PATIENCE_S = 300.0
LONGEST_PAUSE_S = 10.0

log = structlog.get_logger()

Answer = TypeVar("Answer")


async def patiently(
    call: Callable[[], Awaitable[Answer]],
    *,
    check: Callable[[], None],
    at_most_s: float = PATIENCE_S,
) -> Answer:
    """The answer of `call`, tried again with growing pauses while its service is away or full.

    check: called before every attempt; what it raises ends the waiting.

    Raises:
        UnavailableError, OverloadedError: still so after `at_most_s`.
    """
    give_up = time.monotonic() + at_most_s
    pause = 0.5
    while True:
        check()
        try:
            return await call()
        except (UnavailableError, OverloadedError) as error:
            pause = min(max(2 * pause, error.retry_after_s or 0), LONGEST_PAUSE_S)
            if time.monotonic() + pause > give_up:
                raise
            log.warning("waiting for a service", error=error.detail, pause_s=pause)
            await asyncio.sleep(pause)
