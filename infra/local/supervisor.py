"""Processes that belong together: started in order, watched, restarted, stopped in order.

A service is started when everything it needs is ready, and is itself ready when its probe says
so (or, for a one-shot, when it has ended with status 0). One that ends is started again after a
pause that doubles; one that keeps ending fails the whole supervision, which says which one it
was and what it last wrote. No service outlives the supervisor: see `tether`.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter

from shared.errors import MmesidError

PROBE_INTERVAL_S = 0.2
KEPT_LINES = 30
OUTPUT_PATIENCE_S = 1.0
MAX_LINE_BYTES = 2**20

# Called with a service's name and a line that it wrote.
OnLine = Callable[[str, str], None]


class State(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Service:
    """One process to keep.

    `command` is asked for at each start, in the process that supervises: see `tether.tethered`.
    """

    name: str
    command: Callable[[], Sequence[str]]
    ready: Callable[[], Awaitable[bool]] | None = None
    needs: tuple[str, ...] = ()
    prepare: Callable[[], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    one_shot: bool = False
    ready_within_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 15.0


@dataclass(frozen=True)
class RestartPolicy:
    """`limit` restarts in a row at most; a service that ran for `settled_s` starts anew."""

    limit: int = 5
    first_pause_s: float = 0.5
    max_pause_s: float = 10.0
    settled_s: float = 60.0

    def pause_s(self, restarts: int) -> float:
        """Before the restart of that number; 1 is the first."""
        return float(min(self.first_pause_s * 2 ** (restarts - 1), self.max_pause_s))


class ServiceFailedError(MmesidError):
    """A service could not be kept running."""

    slug = "service-failed"
    title = "A service of the stack keeps failing"

    def __init__(self, name: str, cause: str, last_lines: Sequence[str]) -> None:
        quoted = "".join(f"\n    {line}" for line in last_lines)
        wrote = f"; its last lines:{quoted}" if last_lines else "; it wrote nothing"
        super().__init__(f"{name}: {cause}{wrote}")
        self.name = name
        self.cause = cause
        self.last_lines = tuple(last_lines)


class Supervisor:
    """Runs a set of services. Use `start`, then `watch`, and always `stop` at the end."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        on_line: OnLine,
        restarts: RestartPolicy | None = None,
    ) -> None:
        """
        Raises:
            ValueError: a name given twice, a need that is no service, or needs in a circle.
        """
        self._kept = {service.name: _Kept(service) for service in services}
        if len(self._kept) != len(services):
            raise ValueError("two services have the same name")
        self._order = _in_order(services)
        self._on_line = on_line
        self._restarts = restarts or RestartPolicy()
        self._failure: asyncio.Future[None] | None = None

    def states(self) -> dict[str, State]:
        """Where each service is, in the order of their start."""
        return {name: self._kept[name].state for name in self._order}

    def pids(self) -> dict[str, int]:
        """The process ids of the services that run."""
        return {
            name: kept.process.pid
            for name, kept in self._kept.items()
            if kept.process is not None and kept.process.returncode is None
        }

    async def start(self) -> None:
        """Start all services; returns when all are ready.

        Raises:
            ServiceFailedError: one of them cannot be started. The others still run: call `stop`.
        """
        self._failure = asyncio.get_running_loop().create_future()
        for kept in self._kept.values():
            kept.task = asyncio.create_task(self._keep(kept), name=f"keep {kept.service.name}")
        ready = asyncio.create_task(self._all_ready())
        try:
            await asyncio.wait((ready, self._failure), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._failure.done():
            self._failure.result()

    async def _all_ready(self) -> None:
        for kept in self._kept.values():
            await kept.ready.wait()

    async def watch(self) -> None:
        """Never returns.

        Raises:
            ServiceFailedError: a service keeps failing.
        """
        if self._failure is None:
            raise RuntimeError("start() comes before watch()")
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Stop everything; a service stops before what it needs does."""
        stopping: dict[str, asyncio.Task[None]] = {}
        for name in reversed(self._order):
            users = [
                stopping[other] for other, kept in self._kept.items() if name in kept.service.needs
            ]
            stopping[name] = asyncio.create_task(self._stop_after(users, self._kept[name]))
        await asyncio.gather(*stopping.values())

    async def _stop_after(self, users: Sequence[asyncio.Task[None]], kept: "_Kept") -> None:
        await asyncio.gather(*users)
        if kept.task is not None:
            kept.task.cancel()
            await asyncio.wait({kept.task})
        if kept.process is not None and kept.process.returncode is None:
            await _end(kept.process, kept.service)
        if kept.output is not None:
            await _close_output(kept.output)
        if kept.state not in (State.DONE, State.FAILED):
            kept.state = State.STOPPED

    async def _keep(self, kept: "_Kept") -> None:
        try:
            for need in kept.service.needs:
                await self._kept[need].ready.wait()
            await self._keep_running(kept)
        except (OSError, MmesidError) as error:  # of `prepare`, `command`, or the start itself
            self._fail(kept, str(error))

    async def _keep_running(self, kept: "_Kept") -> None:
        restarts = 0
        while True:
            cause, ran_s = await self._run_once(kept)
            if cause is None:
                return
            if ran_s >= self._restarts.settled_s:
                restarts = 0
            if kept.service.one_shot or restarts >= self._restarts.limit:
                after = f" after {restarts} restarts" if restarts else ""
                self._fail(kept, cause + after)
                return
            restarts += 1
            kept.state = State.RESTARTING
            pause_s = self._restarts.pause_s(restarts)
            self._say(kept, f"{cause}; restart {restarts} in {pause_s:g} s")
            await asyncio.sleep(pause_s)

    async def _run_once(self, kept: "_Kept") -> tuple[str | None, float]:
        """One life of the process: why it ended (None: a one-shot is done), and how long it ran."""
        service = kept.service
        kept.state = State.STARTING
        if service.prepare is not None:
            await asyncio.to_thread(service.prepare)
        # A pipe of our own: with asyncio's, wait() would also wait for children that hold it open.
        readable, writable = os.pipe()
        kept.output = asyncio.create_task(self._read(kept, readable))
        try:
            process = await asyncio.create_subprocess_exec(
                *service.command(),
                env={**os.environ, **service.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writable,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )
        finally:
            os.close(writable)
        kept.process = process
        started = time.monotonic()
        if not service.one_shot and not await _becomes_ready(service, process):
            cause = f"not ready after {service.ready_within_s:g} s"
            if process.returncode is not None:
                cause = _end_of(process.returncode)
            await _end(process, service)
        else:
            if not service.one_shot:
                kept.state = State.READY
                kept.ready.set()
            cause = _end_of(await process.wait())
            _sweep(process.pid)
        await _close_output(kept.output)
        if service.one_shot and process.returncode == 0:
            kept.state = State.DONE
            kept.ready.set()
            return None, 0.0
        return cause, time.monotonic() - started

    async def _read(self, kept: "_Kept", readable: int) -> None:
        stream = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(readable, "rb")
        )
        try:
            while line := await _next_line(stream):
                self._say(kept, line.decode(errors="replace").rstrip())
        finally:
            transport.close()

    def _say(self, kept: "_Kept", line: str) -> None:
        kept.lines.append(line)
        self._on_line(kept.service.name, line)

    def _fail(self, kept: "_Kept", cause: str) -> None:
        kept.state = State.FAILED
        error = ServiceFailedError(kept.service.name, cause, list(kept.lines))
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # it counts as seen even where nobody awaits it


@dataclass
class _Kept:
    """What the supervisor knows of a service."""

    service: Service
    state: State = State.WAITING
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    output: asyncio.Task[None] | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))


def _in_order(services: Sequence[Service]) -> list[str]:
    names = {service.name for service in services}
    for service in services:
        for need in service.needs:
            if need not in names:
                raise ValueError(f"{service.name} needs {need}, which is no service")
    graph = TopologicalSorter({service.name: service.needs for service in services})
    try:
        return list(graph.static_order())
    except CycleError as error:
        raise ValueError(f"services need each other in a circle: {error.args[1]}") from error


async def _becomes_ready(service: Service, process: asyncio.subprocess.Process) -> bool:
    """Probe until the service is ready (True), its process ends or its time is up (False)."""
    if service.ready is None:
        return True
    deadline = time.monotonic() + service.ready_within_s
    while process.returncode is None and time.monotonic() < deadline:
        if await service.ready():
            return True
        await asyncio.sleep(PROBE_INTERVAL_S)
    return False


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """A line with its end, a part of one that is too long, or nothing at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as rest:
        return rest.partial
    except asyncio.LimitOverrunError as overrun:
        return await stream.read(overrun.consumed)


async def _close_output(output: asyncio.Task[None]) -> None:
    """Let the reader read what is there; a child that left the group may hold the pipe open."""
    await asyncio.wait({output}, timeout=OUTPUT_PATIENCE_S)
    output.cancel()
    await asyncio.wait({output})


async def _end(process: asyncio.subprocess.Process, service: Service) -> None:
    """Ask the process to stop, then make it; its children go with it."""
    if process.returncode is None:
        process.send_signal(service.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), service.stop_within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
    _sweep(process.pid)


def _sweep(group: int) -> None:
    """End what a process left in its group. Right after its end: the number is used again later."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end_of(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
