"""Options that several commands take."""

import os
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import ValidationError

from infra.local.state import StateFolder
from shared.settings import Settings, load_settings

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="Folder for data, logs and bundles.", show_default=".mmesid"),
]
CatalogOption = Annotated[str, typer.Option("--catalog", help="The catalogue to work on.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print what the API answers and nothing else.")
]
RunArgument = Annotated[UUID, typer.Argument(metavar="RUN", help="The id of a training run.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Of a bundle.")]


def state_folder(path: Path | None) -> StateFolder:
    return StateFolder.default() if path is None else StateFolder(path.absolute())


def settings_for(state: StateFolder) -> Settings:
    """The settings of the stack that runs over the folder, else those of the environment."""
    running = state.running()
    if running is not None:
        os.environ.update(running.environment)
    return load_settings()


def bad_option(error: ValidationError, hint: str) -> typer.BadParameter:
    """What ends a command of which an option cannot have its value; `hint` names the option."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return typer.BadParameter(f"{place}: {first['msg']}", param_hint=hint)


def is_listing(context: typer.Context) -> bool:
    """Whether a group of commands was called without one of them: then it lists.

    Options before a command's name would be those of the list; they are refused.
    """
    if context.invoked_subcommand is None:
        return True
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"options stand after {context.invoked_subcommand}")
    return False
