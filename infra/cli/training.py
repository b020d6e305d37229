"""`train`: a training run, followed to its end."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from infra.cli.api import Api
from infra.cli.bars import Bars, bars
from infra.cli.console import fail, say
from infra.cli.maintenance import create_key
from infra.cli.options import CatalogOption, StateOption, settings_for, state_folder
from shared.contracts.admin import Training, TrainingCreate
from shared.database.api_keys import Scope
from shared.errors import ConflictError, MmesidError, UnavailableError, from_problem

ASK_EVERY_S = 0.5
TrainingOption = Annotated[
    str,
    typer.Option(
        "--training",
        help='The request of the training run, as JSON: {"seed": 1, "ranker": {"epochs": 5}}.',
    ),
]
UNFINISHED = ("queued", "running")


def train(
    catalog: CatalogOption = "default",
    training: TrainingOption = "{}",
    state: StateOption = None,
) -> None:
    """Train a bundle on the stack that runs here, and follow it."""
    folder = state_folder(state)
    running = folder.running()
    if running is None:
        fail("no stack runs here: start it with `mmesid up`")
    request = training_request(training)
    settings = settings_for(folder)

    async def run() -> Training:
        key = await create_key(settings, catalog, name="mmesid train", scopes=[Scope.ADMIN])
        async with Api(running.urls["API"], key) as api:
            started = await api.start_training(request)
            with bars() as shown:
                return await follow(api, started.run_id, shown)

    try:
        made = asyncio.run(run())
    except MmesidError as error:
        fail(error)
    say(f"Bundle {made.bundle} is made.")


def training_request(text: str) -> TrainingCreate:
    """The request that the option gives; one that is wrong ends the command."""
    try:
        return TrainingCreate.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{place}: {first['msg']}", param_hint="--training") from error


async def start_or_join(api: Api, request: TrainingCreate) -> UUID:
    """A new training run, or the one that is under way."""
    try:
        return (await api.start_training(request)).run_id
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
            note = "  ".join(f"{name} {_figure(value)}" for name, value in stage.metrics.items())
            shown.show(stage.stage, fraction, note)
        if training.state == "succeeded":
            return training
        if training.state not in UNFINISHED:
            if training.problem is not None:
                raise from_problem(training.problem.model_dump())
            raise UnavailableError(f"training run {run_id} was {training.state}")
        await asyncio.sleep(ASK_EVERY_S)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4f}"
