"""`experiment`: the paper's tables, by the experiments' own command line."""

import subprocess
import sys

import typer


def experiment(context: typer.Context) -> None:
    """Train and evaluate on a data set and print the table; see `experiment --help`."""
    command = [sys.executable, "-P", "-m", "experiments.run", *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
