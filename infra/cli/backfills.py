"""`backfills`: the vectors of a whole catalogue, made ahead of a training run."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from infra.cli.api import Api
from infra.cli.bars import bars
from infra.cli.console import fail, note, print_document, print_table, say
from infra.cli.formats import NOTHING, duration, moment
from infra.cli.options import CatalogOption, JsonOption, StateOption, is_listing
from infra.cli.running_stack import with_api
from infra.cli.training import ASK_EVERY_S
from shared.contracts.admin import EmbeddingBackfill

backfills = typer.Typer(
    invoke_without_command=True, help="Embedding backfills; without a command: a list."
)

BackfillArgument = Annotated[
    UUID, typer.Argument(metavar="BACKFILL", help="The id of an embedding backfill.")
]


@backfills.callback()
def all_backfills(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """List embedding backfills, the newest first, or look after one."""
    if not is_listing(context):
        return
    found = with_api(state, catalog, lambda api: api.backfills(limit=limit))
    if as_json:
        print_document(found)
    else:
        _print_table(found.backfills)


@backfills.command()
def start(
    is_followed: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait until it is over.")
    ] = True,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Embed the whole catalogue by the encoders that run now. Ctrl-C leaves it going."""

    async def run(api: Api) -> EmbeddingBackfill:
        started = await api.start_backfill()
        if not as_json:
            say(f"Embedding backfill {started.backfill_id}")
        return await _until_over(api, started, silent=as_json) if is_followed else started

    _print(with_api(state, catalog, run), as_json=as_json, is_awaited=is_followed)


@backfills.command()
def show(
    backfill_id: BackfillArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait until it is over.")] = False,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show how far an embedding backfill is, how fast, and how long it will take."""

    async def run(api: Api) -> EmbeddingBackfill:
        found = await api.backfill(backfill_id)
        return await _until_over(api, found, silent=as_json) if follow else found

    _print(with_api(state, catalog, run), as_json=as_json, is_awaited=follow)


@backfills.command()
def cancel(
    backfill_id: BackfillArgument,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """End an embedding backfill. The vectors that were stored stay."""
    cancelled = with_api(state, catalog, lambda api: api.cancel_backfill(backfill_id))
    _print(cancelled, as_json=as_json, is_awaited=False)


async def _until_over(api: Api, backfill: EmbeddingBackfill, *, silent: bool) -> EmbeddingBackfill:
    """Show how far it is until it has succeeded or been cancelled."""
    try:
        with bars(silent=silent) as shown:
            while True:
                shown.show("items", _fraction(backfill), _pace(backfill))
                if backfill.state != "running":
                    return backfill
                await asyncio.sleep(ASK_EVERY_S)
                backfill = await api.backfill(backfill.backfill_id)
    except asyncio.CancelledError:
        note(f"It goes on. Look again with: mmesid backfills show {backfill.backfill_id}")
        raise


def _print(backfill: EmbeddingBackfill, *, as_json: bool, is_awaited: bool) -> None:
    """is_awaited: one that was cancelled meanwhile ends the command with an error."""
    if as_json:
        print_document(backfill)
    else:
        _print_table([backfill])
    if is_awaited and backfill.state == "cancelled":
        fail(f"embedding backfill {backfill.backfill_id} was cancelled")


def _print_table(backfills: list[EmbeddingBackfill]) -> None:
    print_table(
        ("backfill", "state", "items", "done", "embedded", "failed", "items/s", "left", "created"),
        [
            (
                str(backfill.backfill_id),
                backfill.state,
                f"{backfill.items:,}",
                f"{_fraction(backfill):.0%}",
                f"{backfill.embedded:,}",
                f"{backfill.failed:,}",
                _speed(backfill),
                duration(backfill.eta_s),
                moment(backfill.created_at),
            )
            for backfill in backfills
        ],
    )


def _fraction(backfill: EmbeddingBackfill) -> float:
    return backfill.done / backfill.items if backfill.items else 1.0


def _speed(backfill: EmbeddingBackfill) -> str:
    speed = backfill.items_per_second
    return NOTHING if speed is None else f"{speed:,.1f}"


def _pace(backfill: EmbeddingBackfill) -> str:
    done = f"{backfill.done:,} of {backfill.items:,}"
    if backfill.eta_s is None:
        return done
    return f"{done}, {_speed(backfill)} a second, {duration(backfill.eta_s)} left"
