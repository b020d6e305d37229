"""`up`, `down`, `status`: the stack on this machine."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from infra.cli.console import ServiceLog, console, fail, print_urls, say
from infra.cli.engines import Engine, EngineOption, require_installed, say_engines
from infra.cli.options import StateOption, state_folder
from infra.local.lifetime import Story, run_stack
from infra.local.stack import Stack
from infra.local.state import StateFolder
from infra.local.supervisor import Supervisor
from shared.errors import ConflictError, MmesidError

STOPPED_WITHIN_S = 90.0
SHOWN_LINES = 20


def up(
    state: StateOption = None,
    engine: EngineOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the stack is ready.")
    ] = False,
) -> None:
    """Start Postgres, Valkey and every service; Ctrl-C stops them."""
    require_installed(engine, "up")
    folder = state_folder(state)
    if detach:
        start_detached(folder, engine)
    else:
        run_in_foreground(folder, _until_stopped, engine=engine)


async def _until_stopped(stack: Stack, _: Supervisor) -> None:
    say("The stack is up. Ctrl-C stops it.")
    print_urls(stack.description(ready=True))
    await asyncio.Event().wait()


def run_in_foreground(
    folder: StateFolder,
    story: Story,
    *,
    engine: Engine | None = None,
    before: Callable[[], None] | None = None,
) -> signal.Signals | None:
    """Run a stack in this process until the story or a signal ends it.

    `before` happens when the folder is ours and nothing is started. `engine`: what ranks; None
    leaves it to the environment. Returns the signal. Where a stack runs over the folder already,
    says so and ends the command.
    """
    try:
        with folder.locked():
            if before is not None:
                before()
            log = ServiceLog(folder.logs)
            try:
                stack = Stack.over(folder, engine=engine)
                ended_by = asyncio.run(run_stack(stack, on_line=log, story=story))
            finally:
                log.close()
    except ConflictError:
        say_running(folder)
        raise typer.Exit(0) from None
    except MmesidError as error:
        fail(error)
    say("Everything is stopped.")
    return ended_by


def start_detached(folder: StateFolder, engine: Engine | None) -> None:
    """Run `up` in a process of its own; return when its stack is ready."""
    if folder.is_locked():
        say_running(folder)
        return
    folder.logs.mkdir(parents=True, exist_ok=True)
    log = folder.logs / "supervisor.log"
    ranked_by = [] if engine is None else ["--engine", engine.value]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "infra.cli",
                "up",
                "--state",
                str(folder.path),
                *ranked_by,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None:
        running = folder.running()
        if running is not None and running.ready and running.pid == process.pid:
            say(f"The stack is up (process {process.pid}, log {log}). Stop it with: mmesid down")
            print_urls(running)
            return
        time.sleep(0.2)
    lines = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
    fail("the stack did not start:\n" + "\n".join(lines))


def say_running(folder: StateFolder) -> None:
    running = folder.running()
    if running is None or not running.ready:
        say(f"A stack is being started or stopped over {folder.path}.")
        return
    say(f"The stack already runs over {folder.path} (process {running.pid}).")
    print_urls(running)
    say_engines(running)


def down(state: StateOption = None) -> None:
    """Stop the stack that runs over the state folder."""
    folder = state_folder(state)
    running = folder.running()
    if running is None:
        say(f"No stack runs over {folder.path}.")
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while folder.is_locked():
        if time.monotonic() > deadline:
            fail(f"process {running.pid} still runs after {STOPPED_WITHIN_S:g} s")
        time.sleep(0.1)
    say("Everything is stopped.")


def status(state: StateOption = None) -> None:
    """Say whether a stack runs, and where; the exit status is 0 if it is ready, else 3."""
    folder = state_folder(state)
    running = folder.running()
    if running is None:
        last = folder.last_description()
        stale = last is not None and last.ready
        ended = " The last one ended without being stopped." if stale else ""
        console.print(f"No stack runs over {folder.path}.{ended}", markup=False)
        raise typer.Exit(3)
    say_running(folder)
    if not running.ready:
        raise typer.Exit(3)
