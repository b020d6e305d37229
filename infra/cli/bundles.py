"""`bundles`, `activate`, `rollback`: what was published, how good it is, and which one is live."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from infra.cli.api import Api
from infra.cli.console import note, print_document, print_table, say
from infra.cli.formats import NOTHING, figure, moment, percent
from infra.cli.options import CatalogOption, JsonOption, StateOption, VersionArgument, is_listing
from infra.cli.running_stack import with_api
from shared.contracts.admin import Bundle, BundleMetrics, Rate

bundles = typer.Typer(invoke_without_command=True, help="Bundles; without a command: a list.")

MomentOption = Annotated[datetime | None, typer.Option(help="In UTC.")]


@bundles.callback()
def all_bundles(
    context: typer.Context,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """List bundles, the newest first, or look at one."""
    if not is_listing(context):
        return
    found = with_api(state, catalog, lambda api: api.bundles())
    if as_json:
        print_document(found)
        return
    print_table(
        ("version", "state", "nDCG@10", "gates failed", "went live"),
        [
            (
                bundle.version,
                bundle.state,
                figure(ndcg(bundle)),
                ", ".join(gate.name for gate in bundle.gates if not gate.passed) or NOTHING,
                moment(bundle.activated_at),
            )
            for bundle in found.bundles
        ],
    )


@bundles.command()
def metrics(
    version: VersionArgument,
    since: MomentOption = None,
    until: MomentOption = None,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show what users made of the lists that a bundle gave."""
    found = with_api(
        state,
        catalog,
        lambda api: api.bundle_metrics(version, since=_in_utc(since), until=_in_utc(until)),
    )
    if as_json:
        print_document(found)
    else:
        print_table(("", version), _rows(found))


def activate(
    version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Go live although a gate failed.")] = False,
    catalog: CatalogOption = "default",
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Make a bundle live. Returns when the services serve from it."""

    async def run(api: Api) -> Bundle:
        note("The services load it; this may take minutes.")
        return await api.activate_bundle(version, force=force)

    _print_live(with_api(state, catalog, run), as_json=as_json)


def rollback(
    catalog: CatalogOption = "default", as_json: JsonOption = False, state: StateOption = None
) -> None:
    """Go back to the bundle that was live before."""
    _print_live(with_api(state, catalog, lambda api: api.roll_back()), as_json=as_json)


def ndcg(bundle: Bundle) -> float | None:
    """nDCG@10 of its ranker on the test items, the history masked, where it was measured."""
    measured = bundle.metrics.get("ranker", {})
    value: float | None = measured.get("masked", {}).get("ndcg@10")
    return value


def _print_live(bundle: Bundle, *, as_json: bool) -> None:
    if as_json:
        print_document(bundle)
    else:
        say(f"Bundle {bundle.version} is live.")


def _in_utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


def _rows(found: BundleMetrics) -> list[tuple[str, str]]:
    return [
        ("lists given", f"{found.recommendations:,}"),
        ("users", f"{found.users:,}"),
        ("impressions", f"{found.impressions:,}"),
        ("clicks", f"{found.clicks:,}"),
        ("click-through rate", _rate(found.click_through_rate)),
        ("conversions", f"{found.conversions:,}"),
        ("conversion rate", _rate(found.conversion_rate)),
        ("coverage", percent(found.coverage)),
        ("latency, median", _milliseconds(found.latency_p50_ms)),
        ("latency, 95 %", _milliseconds(found.latency_p95_ms)),
        ("fallbacks", percent(found.fallback_share)),
    ]


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return NOTHING
    return f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} ms"
