"""`runs`: the training runs, looked at, stopped, tried again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, get_args
from uuid import UUID

import typer

from infra.cli.api import Api
from infra.cli.console import console, print_document, print_table, say
from infra.cli.formats import NOTHING, duration, moment
from infra.cli.options import CatalogOption, JsonOption, RunArgument, StateOption, is_listing
from infra.cli.running_stack import with_api
from infra.cli.training import ASK_EVERY_S, figures_of, fraction_of, looking_again
from shared.contracts.admin import UNFINISHED, RunState, Training, TrainingLogLine

runs = typer.Typer(invoke_without_command=True, help="Training runs; without a command: a list.")


@runs.callback()
def all_runs(
    context: typer.Context,
    only: Annotated[
        str | None,
        typer.Option(help=f"Those of one state: {', '.join(get_args(RunState))}."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="The `next_cursor` of the page before.")
    ] = None,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """List training runs, the newest first, or look after one."""
    if not is_listing(context):
        return
    page = with_api(
        state, catalog, lambda api: api.trainings(state=only, limit=limit, cursor=cursor)
    )
    if as_json:
        print_document(page)
        return
    print_table(
        ("run", "state", "by", "created", "took", "at", "bundle"),
        [
            (
                str(run.run_id),
                run.state,
                run.trigger,
                moment(run.created_at),
                _took(run),
                _place(run),
                run.bundle or NOTHING,
            )
            for run in page.trainings
        ],
    )
    if page.next_cursor is not None:
        console.print(f"There are more: --cursor {page.next_cursor}", markup=False)


@runs.command()
def show(
    run_id: RunArgument,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show where a run is, stage by stage."""
    run = with_api(state, catalog, lambda api: api.training(run_id))
    if as_json:
        print_document(run)
        return
    say(f"Run {run.run_id} {_outcome(run)}")
    print_table(
        ("stage", "done", "took", "figures"),
        [
            (
                stage.stage,
                f"{fraction_of(stage):.0%}",
                duration(stage.seconds),
                figures_of(stage),
            )
            for stage in run.stages
        ],
    )
    if run.problem is not None:
        console.print(run.problem.detail, markup=False)


@runs.command()
def logs(
    run_id: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the run is over.")
    ] = False,
    catalog: CatalogOption = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Each line as the API has it.")] = False,
    state: StateOption = None,
) -> None:
    """Print the log of a run."""

    async def run(api: Api) -> None:
        async for line in _lines(api, run_id, follow=follow):
            if as_json:
                print(line.model_dump_json(), flush=True)
            else:
                console.print(_text(line), markup=False)

    with_api(state, catalog, run)


@runs.command()
def cancel(
    run_id: RunArgument,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Stop a run: a queued one at once, a running one at its next step."""
    run = with_api(state, catalog, lambda api: api.cancel_training(run_id))
    if as_json:
        print_document(run)
    elif run.state in UNFINISHED:
        say(f"Run {run_id} stops at its next step.")
    else:
        say(f"Run {run_id} is {run.state}.")


@runs.command()
def retry(
    run_id: RunArgument,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Go on from the completed stages of a run that failed or was cancelled, in a new run."""
    run = with_api(state, catalog, lambda api: api.retry_training(run_id))
    if as_json:
        print_document(run)
    else:
        say(f"Run {run.run_id} is {run.state}. Look again with: {looking_again(run.run_id)}")


async def _lines(api: Api, run_id: UUID, *, follow: bool) -> AsyncIterator[TrainingLogLine]:
    """All lines so far; with `follow` also those that come until the run is over."""
    after, was_over = 0, not follow
    while True:
        is_over = was_over or (await api.training(run_id)).state not in UNFINISHED
        page = await api.training_log(run_id, after=after)
        for line in page.lines:
            yield line
        after = page.next_after
        if page.lines:
            continue
        if was_over:
            return
        # A worker writes its last lines just after the run's end: those come with one look more.
        was_over = is_over
        await asyncio.sleep(ASK_EVERY_S)


def _text(line: TrainingLogLine) -> str:
    fields = "".join(f"  {name}={value}" for name, value in line.fields.items())
    return f"{moment(line.logged_at)}  {line.level:<7}  {line.event}{fields}"


def _took(run: Training) -> str:
    if run.started_at is None or run.finished_at is None:
        return NOTHING
    return duration((run.finished_at - run.started_at).total_seconds())


def _place(run: Training) -> str:
    """The stage that a run got to."""
    if not run.stages:
        return NOTHING
    last = run.stages[-1]
    return f"{last.stage} {fraction_of(last):.0%}"


def _outcome(run: Training) -> str:
    state = f"is {run.state}" if run.state in UNFINISHED else run.state
    parts = [state, f"started by {run.trigger}"]
    if run.retry_of is not None:
        parts.append(f"goes on from {run.retry_of}")
    if run.bundle is not None:
        parts.append(f"bundle {run.bundle}")
    if run.finished_at is not None:
        parts.append(f"took {_took(run)}")
    return ", ".join(parts)
