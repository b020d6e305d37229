"""`train`: a training run, followed to its end."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from infra.cli.api import Api
from infra.cli.bars import Bars, bars
from infra.cli.console import fail, say
from infra.cli.maintenance import create_key
from infra.cli.options import CatalogOption, StateOption, settings_for, state_folder
from shared.contracts.admin import Training, TrainingCreate
from shared.database.api_keys import Scope
from shared.errors import ConflictError, MmesidError, UnavailableError, from_problem

ASK_EVERY_S = 0.5
UNFINISHED = ("queued", "running")


def train(
    catalog: CatalogOption = "default",
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    go_live: Annotated[
        bool, typer.Option(help="Serve from the bundle if it passes its gates.")
    ] = True,
    state: StateOption = None,
) -> None:
    """Train a bundle on the stack that runs here, and follow it."""
    folder = state_folder(state)
    running = folder.running()
    if running is None:
        fail("no stack runs here: start it with `mmesid up`")
    settings = settings_for(folder)

    async def run() -> Training:
        key = await create_key(settings, catalog, name="mmesid train", scopes=[Scope.ADMIN])
        async with Api(running.urls["API"], key) as api:
            started = await api.start_training(TrainingCreate(go_live=go_live, seed=seed))
            with bars() as shown:
                return await follow(api, started.run_id, shown)

    try:
        training = asyncio.run(run())
    except MmesidError as error:
        fail(error)
    say(f"Bundle {training.bundle} is made.")


async def start_or_join(api: Api) -> UUID:
    """A new training run, or the one that is under way."""
    try:
        return (await api.start_training(TrainingCreate(go_live=True))).run_id
    except ConflictError:
        for training in (await api.trainings()).trainings:
            if training.state in UNFINISHED:
                return training.run_id
        raise


async def follow(api: Api, run_id: UUID, shown: Bars) -> Training:
    """Show a run's stages until it has succeeded.

    Raises:
        MmesidError: it failed or was cancelled.
    """
    while True:
        training = await api.training(run_id)
        for stage in training.stages:
            fraction = stage.done / stage.total if stage.total else 0.0
            note = "  ".join(f"{name} {value:.4g}" for name, value in stage.metrics.items())
            shown.show(stage.stage, fraction, note)
        if training.state == "succeeded":
            return training
        if training.state not in UNFINISHED:
            if training.problem is not None:
                raise from_problem(training.problem.model_dump())
            raise UnavailableError(f"training run {run_id} was {training.state}")
        await asyncio.sleep(ASK_EVERY_S)
