"""python -m experiments.run STUDY --data FOLDER [--methods SASRec,MME-SID] [--seeds 3]"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.catalogue import read_catalogue
from experiments.cell import Cell, compute_cell
from experiments.ingredients import Ingredients
from experiments.method import Method
from experiments.plots import panel_figure
from experiments.quantizer_table import (
    QUANTIZERS,
    Measured,
    measure,
    quantizer_figures,
    quantizer_report,
)
from experiments.settings import read_settings
from experiments.study import Outcome, Study, read_study
from experiments.table import report
from shared.errors import MmesidError
from shared.modeling.progress import Progress
from shared.plots import write_figure

SMALL = Path(__file__).parent / "small.yaml"


def run(
    study: Annotated[
        str,
        typer.Argument(help="table3, ablations, quantizers: a folder of rows; or figure3, 4, 5."),
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
    settings = read_settings(settings_file)
    catalogue = read_catalogue(data, settings.data, _say)
    ingredients = Ingredients(catalogue, settings, work, _say)
    if name == QUANTIZERS:
        outcome = _measured(study, seeds, ingredients)
    else:
        outcome = _ranked(study, seeds, ingredients, work)
    stem = f"{name}-{catalogue.name}"
    (work / f"{stem}.md").write_text(f"# {name}, {catalogue.name}, {seeds} seeds\n\n{outcome.text}")
    document = {"settings": settings.as_dict(), "cells": outcome.cells}
    (work / f"{stem}.json").write_text(json.dumps(document, indent=2) + "\n")
    for ending, figure in outcome.figures.items():
        write_figure(figure, work / f"{'-'.join(filter(None, (stem, ending)))}.png")
    typer.echo(outcome.text)


def _ranked(study: Study, seeds: int, ingredients: Ingredients, work: Path) -> Outcome:
    done: dict[str, list[Cell]] = {}
    for seed, method, bar in _turns(study.rows, seeds):
        cell = compute_cell(method, seed, ingredients, work, bar)
        done.setdefault(method.name, []).append(cell)
        ndcg = cell.result["validation"]["masked"]["ndcg@10"]
        _say(f"seed {seed}, {method.name}: validation nDCG@10 {ndcg:.4f}")
    cells = [cell.result for row in done.values() for cell in row]
    drawn = {ending: panel_figure(panel, cells) for ending, panel in study.panels.items()}
    figures = {ending: figure for ending, figure in drawn.items() if figure is not None}
    return Outcome(report(done), cells, figures)


def _measured(study: Study, seeds: int, ingredients: Ingredients) -> Outcome:
    done: dict[str, list[Measured]] = {}
    for seed, method, bar in _turns(study.rows, seeds):
        measured = measure(method, seed, ingredients, bar)
        done.setdefault(method.name, []).append(measured)
        _say(f"seed {seed}, {method.name}: trained in {measured['seconds']:.1f} s")
    cells = [measured for row in done.values() for measured in row]
    return Outcome(quantizer_report(done), cells, quantizer_figures(done))


def _turns(rows: Sequence[Method], seeds: int) -> Iterator[tuple[int, Method, "_Bar"]]:
    """Seed by seed: a table that is interrupted has all of its rows first."""
    for seed in range(seeds):
        for place, method in enumerate(rows, start=1):
            yield seed, method, _Bar(method, seed, place, len(rows))


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
