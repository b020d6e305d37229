"""`import`: a data set into the stack that runs here."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.bars import bars
from infra.cli.console import console, fail, say
from infra.cli.options import CatalogOption, StateOption, settings_for, state_folder
from infra.importing import ImportReport, import_dataset
from shared.data.dataset import Dataset
from shared.data.opening import KINDS, open_dataset
from shared.database.session import Database
from shared.errors import MmesidError
from shared.settings import Settings

SHOWN_ERRORS = 20


def import_data(
    path: Annotated[Path, typer.Argument(help="A folder of a known kind, or `synthetic`.")],
    kind: Annotated[str | None, typer.Option(help=f"One of: {', '.join(KINDS)}.")] = None,
    catalog: CatalogOption = "default",
    state: StateOption = None,
) -> None:
    """Store the items, images and interactions of a data set."""
    settings = settings_for(state_folder(state))

    async def run() -> ImportReport:
        database = Database(settings.database)
        try:
            return await import_shown(open_dataset(path, kind), database, settings, catalog)
        finally:
            await database.close()

    try:
        asyncio.run(run())
    except MmesidError as error:
        fail(error)


async def import_shown(
    dataset: Dataset, database: Database, settings: Settings, catalog: str
) -> ImportReport:
    """Import with a progress bar, then say what came in and what did not."""
    with bars() as shown:
        report = await import_dataset(
            dataset,
            catalog_id=catalog,
            database=database,
            settings=settings,
            on_progress=lambda so_far: shown.show("import", so_far.fraction, _counts(so_far)),
        )
    for error in report.row_errors[:SHOWN_ERRORS]:
        console.print(f"  {error}", markup=False)
    if len(report.row_errors) > SHOWN_ERRORS:
        console.print(f"  ... and {len(report.row_errors) - SHOWN_ERRORS} more rows with errors")
    say(
        f"Imported {dataset.name}: {_counts(report)}; "
        f"{report.new_items} items and {report.new_interactions} interactions were new."
    )
    return report


def _counts(report: ImportReport) -> str:
    return (
        f"{report.items} items, {report.images} images, {report.interactions} interactions, "
        f"{len(report.row_errors)} row errors"
    )
