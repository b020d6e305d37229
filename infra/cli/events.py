"""`events import`: what users did, from a file into the stack that runs here."""

from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.api import Api
from infra.cli.bars import bars
from infra.cli.console import console, say
from infra.cli.event_file import open_events
from infra.cli.options import CatalogOption, StateOption
from infra.cli.running_stack import with_api
from shared.contracts.public import BatchRow
from shared.database.api_keys import Scope

SHOWN_REFUSED = 20

events = typer.Typer(no_args_is_help=True, help="What users did.")


@dataclass
class Imported:
    """What became of the lines so far."""

    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    first_refused: list[BatchRow] = field(default_factory=list)

    def add(self, row: BatchRow) -> None:
        if row.status == HTTPStatus.CREATED:
            self.stored += 1
        elif row.status == HTTPStatus.OK:
            self.duplicates += 1
        else:
            self.refused += 1
            if len(self.first_refused) < SHOWN_REFUSED:
                self.first_refused.append(row)

    def __str__(self) -> str:
        return f"{self.stored:,} stored, {self.duplicates:,} duplicates, {self.refused:,} refused"


@events.command("import")
def import_events(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="NDJSON, gzipped or not; - is standard input."),
    ],
    catalog: CatalogOption = "default",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the API's row of each line and nothing else.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Store events. With an `event_id` each, the file can be imported again safely.

    Exit status 1 where a line was refused.
    """
    so_far = Imported()

    async def run(api: Api) -> None:
        try:
            await _send(api, file, so_far, as_json=as_json)
        finally:
            # Also of an import that ended early: what is counted is stored.
            if not as_json:
                _print(so_far)

    with_api(state, catalog, run, scope=Scope.WRITE)
    if so_far.refused:
        raise typer.Exit(1)


async def _send(api: Api, file: Path, so_far: Imported, *, as_json: bool) -> None:
    lines_before = 0
    with bars(silent=as_json) as shown, open_events(file) as source:
        for piece in source.pieces():
            async for answered in api.post_events(b"".join(piece)):
                row = answered.model_copy(update={"line": lines_before + answered.line})
                so_far.add(row)
                if as_json:
                    print(row.model_dump_json(exclude_none=True))
            lines_before += len(piece)
            shown.show("events", source.fraction, str(so_far))
        shown.show("events", 1.0, str(so_far))


def _print(so_far: Imported) -> None:
    for row in so_far.first_refused:
        cause = "" if row.problem is None else row.problem.detail
        console.print(f"  line {row.line}: {cause}", markup=False)
    more = so_far.refused - len(so_far.first_refused)
    if more:
        console.print(f"  ... and {more:,} more lines refused")
    say(f"{so_far}.")
