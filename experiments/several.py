"""python -m experiments.several LIST.yaml --data DIR --work DIR --device cuda --processes 18

Cells of several tables in one go, most wanted first: for a machine that is lent by the minute
(`timeout 300 python -m ...`). `experiments.run` with the same --work then prints the tables, and
computes what was not finished.

LIST.yaml, such as all_tables.yaml beside this file:
  - {study: table3, data: amazon-beauty, settings: beauty.yaml, methods: [SASRec], seeds: [0, 1]}
"""

import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from experiments.cell import Cell, compute_cell
from experiments.method import Method
from experiments.study import read_study
from experiments.workers import Place, workers


@dataclass(frozen=True)
class Wanted:
    """A line of the list. data: a folder in --data. settings: a file beside the list. methods: all
    of the study where none is named."""

    study: str
    data: str
    settings: str
    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)

    def cells(self) -> Iterator[tuple[Method, int]]:
        for seed in self.seeds:
            for method in read_study(self.study, self.methods).rows:
                yield method, seed


def several(
    wanted: Annotated[Path, typer.Argument(help="A YAML list; see the module.")],
    data: Annotated[Path, typer.Option(help="The folder of the data sets.")],
    work: Annotated[Path, typer.Option(help="Keeps what is finished.")],
    device: Annotated[str, typer.Option(help="Where models train: cpu, cuda.")] = "cpu",
    processes: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Compute the cells in the order of the list; a cell that fails is told and left out."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {line}", flush=True)

    lines = [Wanted(**line) for line in yaml.safe_load(wanted.read_text())]
    with workers(processes) as pool:
        asked: dict[Future[Cell], str] = {}
        for line in lines:
            place = Place(data / line.data, wanted.parent / line.settings, work, device)
            for method, seed in line.cells():
                name = f"{Path(line.settings).stem}, {method.name}, seed {seed}"
                asked[pool.compute(compute_cell, place, method, seed)] = name
        for done in as_completed(asked):
            say(f"{asked[done]}: {_outcome(done)}")


def _outcome(done: "Future[Cell]") -> str:
    error = done.exception()
    if error is not None:
        return "".join(traceback.format_exception(error))
    result = done.result().result
    validation, test = result["validation"]["masked"], result["test"]["masked"]
    seconds = {name: round(value) for name, value in result["seconds"].items()}
    return f"validation {validation['ndcg@10']:.4f}, test {test['ndcg@10']:.4f}, {seconds} s"


if __name__ == "__main__":
    typer.run(several)
