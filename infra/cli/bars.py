"""Progress: bars on a terminal, a line now and then elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from infra.cli.console import console

LINE_EVERY = 0.1
NAME_WIDTH = 15


class Bars(Protocol):
    """Shows how far named steps are."""

    def show(self, name: str, fraction: float, note: str = "") -> None:
        """`fraction` between 0 and 1."""


class _TerminalBars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, fraction: float, note: str = "") -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1.0, note="")
        self._progress.update(self._tasks[name], completed=fraction, note=note)


class _Lines:
    def __init__(self) -> None:
        self._shown: dict[str, float] = {}

    def show(self, name: str, fraction: float, note: str = "") -> None:
        last = self._shown.get(name)
        due = last is None or fraction >= last + LINE_EVERY or (fraction >= 1.0 > last)
        if due:
            self._shown[name] = fraction
            console.print(f"{name:<{NAME_WIDTH}} {fraction:4.0%}  {note}", markup=False)


class _Nothing:
    def show(self, name: str, fraction: float, note: str = "") -> None:
        pass


@contextmanager
def bars(*, silent: bool = False) -> Iterator[Bars]:
    """For as long as something makes progress. silent: nothing is shown."""
    if silent:
        yield _Nothing()
        return
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn(f"{{task.description:<{NAME_WIDTH}}}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield _TerminalBars(progress)
