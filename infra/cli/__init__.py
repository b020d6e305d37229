"""The commands: `mmesid demo`, `mmesid up`, ..."""

import typer

from infra.cli.backfills import backfills
from infra.cli.bundles import activate, bundles, rollback
from infra.cli.checks import test
from infra.cli.data import import_data
from infra.cli.demo import demo
from infra.cli.events import events
from infra.cli.experiments import experiment
from infra.cli.maintenance import keys, migrate
from infra.cli.runs import runs
from infra.cli.schedule import schedule
from infra.cli.split import split
from infra.cli.stack import down, status, up
from infra.cli.training import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Self-hosted multimodal recommendations.",
)
for command in (demo, up, down, status, train, schedule, activate, rollback, split, migrate):
    app.command()(command)
app.command("import")(import_data)
# These pass what they are given, --help included, to another command line.
for passing_on in (test, experiment):
    app.command(
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(passing_on)
for name, group in (
    ("runs", runs),
    ("backfills", backfills),
    ("bundles", bundles),
    ("events", events),
    ("keys", keys),
):
    app.add_typer(group, name=name)
