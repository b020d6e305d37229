"""NDJSON in and out as streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import structlog
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = structlog.get_logger()


@dataclass(frozen=True)
class Line:
    """One line, counted from 1; `data` is None where it was longer than allowed."""

    number: int
    data: bytes | None


async def read_lines(chunks: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[Line]:
    """The lines of a stream that are not blank. Of one that is too long, nothing is kept."""
    buffer = bytearray()
    number = 1
    too_long = False
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            buffer += end
            line = _line(number, buffer, too_long or len(buffer) > max_bytes)
            if line is not None:
                yield line
            buffer, too_long, number = bytearray(), False, number + 1
        buffer += rest
        if len(buffer) > max_bytes:
            buffer, too_long = bytearray(), True
    line = _line(number, buffer, too_long)
    if line is not None:
        yield line


def _line(number: int, buffer: bytearray, too_long: bool) -> Line | None:
    if too_long:
        return Line(number, None)
    data = bytes(buffer).strip()
    return Line(number, data) if data else None


async def grouped(
    lines: AsyncIterator[Line], *, size: int, max_bytes: int, linger_s: float
) -> AsyncIterator[list[Line]]:
    """Groups of up to `size` lines and about `max_bytes`.

    A group is not held back for lines that do not come: after `linger_s` it goes on as it is.
    """
    group: list[Line] = []
    bytes_held = 0
    following = asyncio.ensure_future(_next(lines))
    try:
        while True:
            await asyncio.wait({following}, timeout=linger_s if group else None)
            if following.done():
                line = following.result()
                if line is None:
                    break
                group.append(line)
                bytes_held += len(line.data or b"")
                following = asyncio.ensure_future(_next(lines))
                if len(group) < size and bytes_held < max_bytes:
                    continue
            yield group
            group, bytes_held = [], 0
    finally:
        following.cancel()
    if group:
        yield group


async def _next(lines: AsyncIterator[Line]) -> Line | None:
    return await anext(lines, None)


class NdjsonResponse(Response):
    """Rows as they come.

    Rows wait in memory for a caller that sends all it has before it reads anything; if they did
    not, both sides would wait for each other. And nothing but `rows` may read from the request,
    which a StreamingResponse does to learn of a disconnect.
    """

    media_type = "application/x-ndjson"

    def __init__(self, rows: AsyncIterator[BaseModel]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._rows = rows

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        waiting, grown = bytearray(), asyncio.Event()
        made = asyncio.create_task(self._make(waiting, grown))
        try:
            while waiting or not made.done():
                await grown.wait()
                grown.clear()
                data = bytes(waiting)
                waiting.clear()
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await made
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientDisconnect:
            log.info("the caller of a batch left")
        finally:
            made.cancel()
            with suppress(asyncio.CancelledError, ClientDisconnect):
                await made

    async def _make(self, waiting: bytearray, grown: asyncio.Event) -> None:
        try:
            async for row in self._rows:
                waiting += row.model_dump_json(exclude_none=True).encode() + b"\n"
                grown.set()
        finally:
            grown.set()
