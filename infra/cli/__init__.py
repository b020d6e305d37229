"""The commands: `mmesid demo`, `mmesid up`, ..."""

import typer

from infra.cli.checks import test
from infra.cli.maintenance import keys, migrate
from infra.cli.stack import down, status, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Self-hosted multimodal recommendations.",
)
for command in (up, down, status, migrate):
    app.command()(command)
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(test)
app.add_typer(keys, name="keys")
