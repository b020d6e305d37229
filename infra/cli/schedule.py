"""`schedule`: training without being asked."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from infra.cli.api import Api
from infra.cli.console import print_document, print_table, say
from infra.cli.formats import NOTHING, moment
from infra.cli.options import CatalogOption, JsonOption, StateOption, bad_option
from infra.cli.running_stack import with_api
from infra.cli.training import TrainingOption, training_request
from shared.contracts.admin import TrainingCreate, TrainingSchedule, TrainingScheduleSet
from shared.errors import NotFoundError


def schedule(
    cron: Annotated[
        str | None, typer.Option(help='By the clock, in UTC, such as "0 3 * * *".')
    ] = None,
    new_interactions: Annotated[
        int | None, typer.Option(help="When so many came since the newest bundle.")
    ] = None,
    training: TrainingOption = "{}",
    off: Annotated[bool, typer.Option("--off", help="Train only when asked.")] = False,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show when runs start by themselves, or set it. What is left out is not kept from before."""
    is_set = cron is not None or new_interactions is not None or training != "{}"
    if off and is_set:
        raise typer.BadParameter("takes no times, numbers or requests", param_hint="--off")
    if off:
        with_api(state, catalog, lambda api: api.remove_training_schedule())
        if not as_json:
            say("Training starts only when asked.")
    elif is_set:
        wanted = _wanted(cron, new_interactions, training_request(training))
        made = with_api(state, catalog, lambda api: api.set_training_schedule(wanted))
        _print(made, as_json=as_json)
    else:
        _show(state, catalog, as_json=as_json)


def _wanted(
    cron: str | None, new_interactions: int | None, request: TrainingCreate
) -> TrainingScheduleSet:
    try:
        return TrainingScheduleSet(cron=cron, new_interactions=new_interactions, request=request)
    except ValidationError as error:
        raise bad_option(error, "--cron, --new-interactions") from error


def _show(state: Path | None, catalog: str, *, as_json: bool) -> None:
    async def run(api: Api) -> TrainingSchedule | None:
        try:
            return await api.training_schedule()
        except NotFoundError:
            if as_json:
                raise
            return None

    found = with_api(state, catalog, run)
    if found is None:
        say("No schedule: training starts only when asked.")
    else:
        _print(found, as_json=as_json)


def _print(found: TrainingSchedule, *, as_json: bool) -> None:
    if as_json:
        print_document(found)
        return
    every = found.new_interactions
    print_table(
        ("by the clock (UTC)", "next", "by new interactions", "request"),
        [
            (
                found.cron or NOTHING,
                moment(found.next_run_at),
                NOTHING if every is None else f"{every:,}",
                found.request.model_dump_json(exclude_defaults=True),
            )
        ],
    )
