"""python -m experiments.run STUDY --data FOLDER [--methods SASRec,MME-SID] [--seeds 3]"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.catalogue import read_catalogue
from experiments.cell import Cell, compute_cell
from experiments.ingredients import Ingredients
from experiments.method import Method
from experiments.plots import panel_figure
from experiments.settings import read_settings
from experiments.study import read_study
from experiments.table import report
from shared.errors import MmesidError
from shared.modeling.progress import Progress
from shared.plots import write_figure

SMALL = Path(__file__).parent / "small.yaml"


def run(
    study: Annotated[
        str, typer.Argument(help="table3, ablations, ...: a folder of rows; or figure3, 4, 5.")
    ],
    data: Annotated[Path, typer.Option(help="A folder of data, or `synthetic`.")],
    methods: Annotated[str | None, typer.Option(help="Rows, by comma; all of the study.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0 on.")] = 3,
    settings: Annotated[Path, typer.Option(help="A YAML file such as small.yaml.")] = SMALL,
    work: Annotated[
        Path, typer.Option(help="Keeps what is finished: an interrupted table goes on from it.")
    ] = Path("experiment-runs"),
) -> None:
    """Train and evaluate the rows of a table or figure on a data set; print and keep the table,
    and draw the plots."""
    try:
        _run(study, data, None if methods is None else methods.split(","), seeds, settings, work)
    except MmesidError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(1) from error


def _run(
    name: str,
    data: Path,
    names: Sequence[str] | None,
    seeds: int,
    settings_file: Path,
    work: Path,
) -> None:
    study = read_study(name, names)
    rows = study.rows
    settings = read_settings(settings_file)
    catalogue = read_catalogue(data, settings.data, _say)
    ingredients = Ingredients(catalogue, settings, work, _say)
    done: dict[str, list[Cell]] = {}
    # Seed by seed: a table that is interrupted has all of its rows first.
    for seed in range(seeds):
        for place, method in enumerate(rows, start=1):
            cell = compute_cell(
                method, seed, ingredients, work, _Bar(method, seed, place, len(rows))
            )
            done.setdefault(method.name, []).append(cell)
            ndcg = cell.result["validation"]["masked"]["ndcg@10"]
            _say(f"seed {seed}, {method.name}: validation nDCG@10 {ndcg:.4f}")
    text = report(done)
    stem = f"{name}-{catalogue.name}"
    (work / f"{stem}.md").write_text(f"# {name}, {catalogue.name}, {seeds} seeds\n\n{text}")
    cells = [cell.result for row in done.values() for cell in row]
    document = {"settings": settings.as_dict(), "cells": cells}
    (work / f"{stem}.json").write_text(json.dumps(document, indent=2) + "\n")
    for panel_name, panel in study.panels.items():
        figure = panel_figure(panel, cells)
        if figure is not None:
            write_figure(figure, work / f"{'-'.join(filter(None, (stem, panel_name)))}.png")
    typer.echo(text)


class _Bar:
    """Where a cell's training is, on one line of a terminal; silent elsewhere."""

    def __init__(self, method: Method, seed: int, place: int, rows: int) -> None:
        self._title = f"seed {seed}, row {place} of {rows}: {method.name}"

    def __call__(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            share = progress.done / max(1, progress.total)
            line = f"{self._title}: {progress.stage} {share:.0%}"
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


def _say(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    typer.echo(line, err=True)


if __name__ == "__main__":
    typer.run(run)
