"""Ten minutes of everything at once: recommendations, new items and events without a pause, while
two retrainings, an activation and a rollback happen.

    python -m benchmarks.soak --minutes 10
    python -m benchmarks.soak --minutes 10 --engine transformers --state /tmp/soak

It starts a platform of its own, fills it with a small made-up shop and trains a first bundle; that
takes a few minutes more. Every request must get its documented success at the first attempt, and
whatever was accepted must be in Postgres afterwards, every item ready and searchable. The exit
status is 1 where something failed or was lost.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ranking_parts.machine import machine_line
from benchmarks.soak_parts.plan import Plan, Target
from benchmarks.soak_parts.report import report
from benchmarks.soak_parts.soaking import Outcome, soak
from infra.cli.api import Api
from infra.cli.bars import bars
from infra.cli.engines import EngineOption
from infra.cli.maintenance import create_key
from infra.cli.options import settings_for
from infra.cli.stack import down, start_detached
from infra.cli.training import follow
from infra.importing import import_dataset
from infra.local.state import StateFolder
from shared.contracts.admin import TrainingCreate
from shared.data.synthetic import SyntheticShop
from shared.database.api_keys import Scope
from shared.database.session import Database
from shared.settings import Settings

CATALOG = "default"
SHOP = SyntheticShop(items=500, users=1000)


def main(
    minutes: Annotated[float, typer.Option(help="how long requests come", min=0.5)] = 10.0,
    engine: EngineOption = None,
    state: Annotated[
        Path | None, typer.Option(help="the platform's folder, kept; without it, one that is not")
    ] = None,
) -> None:
    """Start a platform, soak it, print what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="mmesid-soak-")) if state is None else state.absolute()
    machine = machine_line(None)
    start_detached(StateFolder(folder), engine)
    try:
        outcome = asyncio.run(_prepare_and_soak(StateFolder(folder), 60 * minutes))
    finally:
        down(folder)
    print(f"\n{machine}\n\n{report(outcome)}", flush=True)
    if outcome.failures:
        print(f"The logs are in {folder / 'logs'}", file=sys.stderr)
        raise typer.Exit(1)
    if state is None:
        shutil.rmtree(folder)


async def _prepare_and_soak(folder: StateFolder, seconds: float) -> Outcome:
    running = folder.running()
    assert running is not None, "the stack was just started"
    settings = settings_for(folder)
    key = await create_key(settings, CATALOG, name="soak", scopes=list(Scope))
    await _import_shop(settings)
    async with Api(running.urls["API"], key) as api:
        print("Training the first bundle:", flush=True)
        first = await api.start_training(TrainingCreate())
        with bars() as shown:
            await follow(api, first.run_id, shown)
    target = Target(running.urls["API"], key, settings.database, CATALOG)
    plan = Plan(seconds=seconds, overtime_s=max(seconds, 600.0))
    return await soak(target, plan, on_step=lambda words: print(words, flush=True))


async def _import_shop(settings: Settings) -> None:
    database = Database(settings.database)
    try:
        await import_dataset(
            SHOP,
            catalog_id=CATALOG,
            database=database,
            settings=settings,
            on_progress=lambda _: None,
        )
    finally:
        await database.close()


if __name__ == "__main__":
    typer.run(main)
