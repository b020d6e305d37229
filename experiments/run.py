"""python -m experiments.run STUDY --data FOLDER [--methods SASRec,MME-SID] [--seeds 3]

Seed by seed: a table that is interrupted has all of its rows first.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from experiments.cell import Cell, compute_cell
from experiments.method import Method
from experiments.plots import panel_figure
from experiments.quantizer_table import (
    QUANTIZERS,
    Measured,
    measure,
    quantizer_figures,
    quantizer_report,
)
from experiments.study import Outcome, Study, read_study
from experiments.table import report
from experiments.workers import Compute, Place, Thing, those_needed_first, workers
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
    device: Annotated[str, typer.Option(help="Where models train: cpu, cuda, cuda:1.")] = "cpu",
    processes: Annotated[
        int, typer.Option(min=1, help="How many cells are computed at a time.")
    ] = 1,
) -> None:
    """Train and evaluate the rows of a table or figure on a data set; print and keep the table,
    and draw the plots."""
    try:
        rows = read_study(study, None if methods is None else methods.split(","))
        _run(study, rows, seeds, Place(data, settings, work, device), processes)
    except MmesidError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(1) from error


def _run(name: str, study: Study, seeds: int, place: Place, processes: int) -> None:
    ingredients = place.ingredients(_say)
    turns = [(method, seed) for seed in range(seeds) for method in study.rows]

    def each(compute: Compute[Thing]) -> Iterator[Thing]:
        if processes == 1:
            for turn, (method, seed) in enumerate(turns, start=1):
                bar = _Bar(method, seed, turn, len(turns))
                yield compute(method, seed, ingredients, bar)
            return
        with workers(processes) as pool:
            begun = {
                (method.name, seed): pool.compute(compute, place, method, seed)
                for method, seed in those_needed_first(turns)
            }
            for method, seed in turns:
                yield begun[method.name, seed].result()

    outcome = _measured(each(measure)) if name == QUANTIZERS else _ranked(study, each(compute_cell))
    work, stem = place.work, f"{name}-{ingredients.catalogue.name}"
    title = f"# {name}, {ingredients.catalogue.name}, {seeds} seeds"
    (work / f"{stem}.md").write_text(f"{title}\n\n{outcome.text}")
    document = {"settings": ingredients.settings.as_dict(), "cells": outcome.cells}
    (work / f"{stem}.json").write_text(json.dumps(document, indent=2) + "\n")
    for ending, figure in outcome.figures.items():
        write_figure(figure, work / f"{'-'.join(filter(None, (stem, ending)))}.png")
    typer.echo(outcome.text)


def _ranked(study: Study, computed: Iterator[Cell]) -> Outcome:
    done: dict[str, list[Cell]] = {}
    for cell in computed:
        done.setdefault(cell.method.name, []).append(cell)
        ndcg = cell.result["validation"]["masked"]["ndcg@10"]
        _say(f"seed {cell.seed}, {cell.method.name}: validation nDCG@10 {ndcg:.4f}")
    cells = [cell.result for row in done.values() for cell in row]
    drawn = {ending: panel_figure(panel, cells) for ending, panel in study.panels.items()}
    figures = {ending: figure for ending, figure in drawn.items() if figure is not None}
    return Outcome(report(done), cells, figures)


def _measured(computed: Iterator[Measured]) -> Outcome:
    done: dict[str, list[Measured]] = {}
    for measured in computed:
        done.setdefault(measured["method"], []).append(measured)
        seconds = measured["seconds"]
        _say(f"seed {measured['seed']}, {measured['method']}: trained in {seconds:.1f} s")
    cells = [measured for row in done.values() for measured in row]
    return Outcome(quantizer_report(done), cells, quantizer_figures(done))


class _Bar:
    """Where a cell's training is, on one line of a terminal; silent elsewhere."""

    def __init__(self, method: Method, seed: int, turn: int, turns: int) -> None:
        self._title = f"cell {turn} of {turns}, seed {seed}: {method.name}"

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
