"""`split`: percentages of the users for bundles that are not live."""

from typing import Annotated

import typer
from pydantic import ValidationError

from infra.cli.api import Api
from infra.cli.console import note, print_document, print_table
from infra.cli.formats import NOTHING
from infra.cli.options import CatalogOption, JsonOption, StateOption
from infra.cli.running_stack import with_api
from shared.contracts.admin import Traffic, TrafficUpdate


def split(
    shares: Annotated[
        list[str] | None,
        typer.Argument(metavar="VERSION=PERCENT", help="Who gets how much of the users."),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="Give all users to the live bundle.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take bundles of which a gate failed, too.")
    ] = False,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show who is served by which bundle, or split the users among several."""
    if end and shares:
        raise typer.BadParameter("goes with no shares", param_hint="--end")
    update = traffic_update(shares or [], force=force) if shares or end else None

    async def run(api: Api) -> Traffic:
        if update is None:
            return await api.traffic()
        if update.shares:
            note("The services load what is missing; this may take minutes.")
        return await api.set_traffic(update)

    traffic = with_api(state, catalog, run)
    if as_json:
        print_document(traffic)
    else:
        _print(traffic)


def traffic_update(shares: list[str], *, force: bool) -> TrafficUpdate:
    """What VERSION=PERCENT says; what cannot be so ends the command."""
    given = []
    for share in shares:
        version, _, percent = share.partition("=")
        given.append({"version": version, "percent": percent.removesuffix("%")})
    try:
        return TrafficUpdate.model_validate({"shares": given, "force": force})
    except ValidationError as error:
        first = error.errors()[0]
        at = first["loc"]
        culprit = shares[int(at[1])] if len(at) > 1 else " ".join(shares)
        cause = f"{culprit}: {first['msg']}"
        raise typer.BadParameter(cause, param_hint="VERSION=PERCENT") from error


def _print(traffic: Traffic) -> None:
    rows = [(traffic.live or NOTHING, f"{traffic.live_percent:g} %", "live")]
    rows += [(share.version, f"{share.percent:g} %", "") for share in traffic.shares]
    print_table(("version", "users", ""), rows)
