"""One embedded server for the length of a `with` block; the stack has its supervisor instead."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

from shared.errors import UnavailableError

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0


class Server(Protocol):
    """What Postgres and Valkey have in common."""

    def prepare(self) -> None: ...
    def command(self) -> list[str]: ...
    def is_ready(self) -> bool: ...


@contextmanager
def running(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server, wait until it answers, stop it at the end of the block.

    Raises:
        UnavailableError: it ended, or did not answer in time; with what it wrote.
    """
    server.prepare()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            server.command(), stdout=output, stderr=output, start_new_session=True
        )
        try:
            _await_ready(server, process, output)
            yield process
        finally:
            _stop(process)


def _await_ready(server: Server, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not server.is_ready():
        if process.poll() is not None:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise UnavailableError(f"{server} ended with status {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"{server} does not answer after {READY_WITHIN_S:g} s")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # SIGINT is PostgreSQL's fast shutdown (SIGTERM would wait for every client to leave).
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
