"""Options that several commands take."""

import os
from pathlib import Path
from typing import Annotated

import typer

from infra.local.state import StateFolder
from shared.settings import Settings, load_settings

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="Folder for data, logs and bundles.", show_default=".mmesid"),
]
CatalogOption = Annotated[str, typer.Option("--catalog", help="The catalogue to work on.")]


def state_folder(path: Path | None) -> StateFolder:
    return StateFolder.default() if path is None else StateFolder(path.absolute())


def settings_for(state: StateFolder) -> Settings:
    """The settings of the stack that runs over the folder, else those of the environment."""
    running = state.running()
    if running is not None:
        os.environ.update(running.environment)
    return load_settings()
