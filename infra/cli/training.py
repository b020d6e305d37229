"""`train`: a training run, followed to its end."""

import asyncio
from typing import Annotated, get_args
from uuid import UUID

import typer
from pydantic import ValidationError

from infra.cli.api import Api
from infra.cli.bars import Bars, bars
from infra.cli.console import fail, note, print_document, print_table, say
from infra.cli.formats import duration, figure, moment
from infra.cli.options import CatalogOption, JsonOption, StateOption, bad_option
from infra.cli.running_stack import with_api
from shared.contracts.admin import (
    UNFINISHED,
    StageProgress,
    StartKind,
    TrainedStage,
    Training,
    TrainingCreate,
    TrainingEstimate,
)
from shared.errors import ConflictError, MmesidError, UnavailableError, from_problem

ASK_EVERY_S = 0.5
TrainingOption = Annotated[
    str,
    typer.Option(
        "--training",
        help='The request of the training run, as JSON: {"seed": 1, "ranker": {"epochs": 5}}.',
    ),
]


def train(
    start: Annotated[
        str | None,
        typer.Option(help=f"What the weights begin with: {', '.join(get_args(StartKind))}."),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help="What is made anew; the rest is the live bundle's. With commas: "
            f"{','.join(get_args(TrainedStage))}."
        ),
    ] = None,
    go_live: Annotated[
        bool | None,
        typer.Option("--go-live/--no-go-live", help="Serve from it when its gates pass."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Start nothing: say how long it would take.")
    ] = False,
    is_followed: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait until the run is over.")
    ] = True,
    training: TrainingOption = "{}",
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Train a bundle on the stack that runs here, and follow it. Ctrl-C leaves the run going."""
    request = training_request(
        training,
        start=start,
        stages=None if stages is None else [stage.strip() for stage in stages.split(",")],
        go_live=go_live,
    )
    if dry_run:
        estimate = with_api(state, catalog, lambda api: api.estimate_training(request))
        if as_json:
            print_document(estimate)
        else:
            _print_estimate(estimate)
        return

    async def run(api: Api) -> Training:
        started = await api.start_training(request)
        if not as_json:
            say(f"Training run {started.run_id}")
        if not is_followed:
            return started
        try:
            with bars(silent=as_json) as shown:
                return await until_over(api, started.run_id, shown)
        except asyncio.CancelledError:
            note(f"The run goes on. Look again with: {looking_again(started.run_id)}")
            raise

    ended = with_api(state, catalog, run)
    if as_json:
        print_document(ended)
    elif not is_followed:
        say(f"It is {ended.state}. Look again with: {looking_again(ended.run_id)}")
    if is_followed:
        try:
            require_succeeded(ended)
        except MmesidError as error:
            fail(error)
        if not as_json:
            say(f"Bundle {ended.bundle} is made.")


def looking_again(run_id: UUID) -> str:
    """The command that shows where a run is."""
    return f"mmesid runs show {run_id}"


def training_request(text: str, **options: object) -> TrainingCreate:
    """The request that the JSON of --training gives, and the options that are not None instead of
    what it says; one that is wrong ends the command."""
    hint = "--training"
    try:
        request = TrainingCreate.model_validate_json(text)
        given = {name: value for name, value in options.items() if value is not None}
        if not given:
            return request
        hint = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        return TrainingCreate.model_validate({**request.model_dump(exclude_unset=True), **given})
    except ValidationError as error:
        raise bad_option(error, hint) from error


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
    training = await until_over(api, run_id, shown)
    require_succeeded(training)
    return training


async def until_over(api: Api, run_id: UUID, shown: Bars) -> Training:
    """Show a run's stages until it has succeeded, failed or been cancelled."""
    while True:
        training = await api.training(run_id)
        for stage in training.stages:
            shown.show(stage.stage, fraction_of(stage), figures_of(stage))
        if training.state not in UNFINISHED:
            return training
        await asyncio.sleep(ASK_EVERY_S)


def require_succeeded(training: Training) -> None:
    """Raises MmesidError: a run that is over failed or was cancelled."""
    if training.state == "succeeded":
        return
    if training.problem is not None:
        raise from_problem(training.problem.model_dump())
    raise UnavailableError(f"training run {training.run_id} was {training.state}")


def fraction_of(stage: StageProgress) -> float:
    return stage.done / stage.total if stage.total else 0.0


def figures_of(stage: StageProgress) -> str:
    return "  ".join(f"{name} {figure(value)}" for name, value in stage.metrics.items())


def _print_estimate(estimate: TrainingEstimate) -> None:
    to_embed = estimate.items_to_embed
    say(
        f"{estimate.items:,} items ({'?' if to_embed is None else f'{to_embed:,}'} to embed), "
        f"{estimate.users:,} users, {estimate.interactions:,} interactions"
    )
    measured = estimate.derived_from
    if estimate.stages is None or measured is None:
        say("No run was measured yet: how long it would take is not known.")
        return
    print_table(
        ("stage", "would take", "took", "grows with"),
        [
            (one.stage, duration(one.seconds), duration(one.measured_seconds), one.scaled_by)
            for one in estimate.stages
        ],
    )
    say(
        f"Together {duration(estimate.seconds)}, by run {measured.run_id} "
        f"of {moment(measured.finished_at)}"
    )
