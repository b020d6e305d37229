"""What the commands print: the services' lines with their names before them, and errors."""

import logging
import sys
from collections.abc import Iterable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from infra.local.state import StackDescription
from shared.errors import MmesidError

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "red")
NAME_WIDTH = 12
LOG_FILE_BYTES = 10 * 2**20
LOG_FILES_KEPT = 3

console = Console(highlight=False, soft_wrap=True)


class ServiceLog:
    """Prints each line with its service's name in the service's colour, and keeps it in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, RotatingFileHandler] = {}

    def __call__(self, service: str, line: str) -> None:
        if service not in self._files:
            self._files[service] = RotatingFileHandler(
                self._folder / f"{service}.log",
                maxBytes=LOG_FILE_BYTES,
                backupCount=LOG_FILES_KEPT,
                encoding="utf-8",
            )
        self._files[service].handle(logging.makeLogRecord({"msg": line}))
        colour = COLOURS[list(self._files).index(service) % len(COLOURS)]
        prefix = Text(f"{service:<{NAME_WIDTH}} │ ", style=colour)
        console.print(prefix + Text.from_ansi(line))

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def say(text: str) -> None:
    """One line of our own, apart from the services' lines."""
    console.print(Text(text, style="bold"))


def note(text: str) -> None:
    """One line for whoever sits there, even where what is printed is read by a program."""
    sys.stdout.flush()
    print(text, file=sys.stderr)


def print_document(document: BaseModel) -> None:
    """What the API answered, as JSON."""
    print(document.model_dump_json(indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Never wrapped or cut to a terminal's width: ids are there to be copied."""
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(Text("  ".join(cells).rstrip(), style="" if number else "bold"))


def print_urls(description: StackDescription) -> None:
    width = max(len(name) for name in description.urls)
    for name, url in description.urls.items():
        console.print(f"  {name:<{width}}  {url}", markup=False)


def fail(error: MmesidError | str, *, status: int = 1) -> NoReturn:
    """Print what went wrong and end with an exit status."""
    detail = error if isinstance(error, str) else error.detail
    sys.stdout.flush()
    print(f"mmesid: {detail}", file=sys.stderr)
    raise typer.Exit(status)
