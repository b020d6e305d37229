"""Cells computed by several processes: for a GPU that one process leaves idle, or many cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from experiments.catalogue import Say, read_catalogue
from experiments.ingredients import Ingredients
from experiments.method import Method
from experiments.settings import read_settings
from shared.modeling.progress import OnProgress, ignore_progress

Thing = TypeVar("Thing")

# Trains a row with a seed, and tells what came out of it.
Compute = Callable[[Method, int, Ingredients, OnProgress], Thing]


@dataclass(frozen=True)
class Place:
    """What a process starts from. work: where it finds what others have finished."""

    data: Path
    settings: Path
    work: Path
    device: str

    def ingredients(self, say: Say) -> Ingredients:
        """Raises InvalidInputError when data or settings cannot be read."""
        settings = read_settings(self.settings)
        catalogue = read_catalogue(self.data, settings.data, say)
        return Ingredients(catalogue, settings, self.work, say, device=self.device)


class Workers:
    """Processes that each compute a cell at a time, and keep the data that they have read."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def compute(
        self, compute: Compute[Thing], place: Place, method: Method, seed: int
    ) -> "Future[Thing]":
        """compute: a function of a module, which another process can import."""
        return self._pool.submit(_run, compute, place, method, seed)


@contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Those of a `with` statement, which waits for what they have begun."""
    # CUDA does not survive a fork.
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, _share_the_cores, (processes,)) as pool:
        yield Workers(pool)


def those_needed_first(rows: Sequence[tuple[Method, int]]) -> list[tuple[Method, int]]:
    """The rows that others are made of before those that would have to wait for them."""
    return sorted(rows, key=lambda row: row[0].model != "sasrec")


def _share_the_cores(processes: int) -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


def _run(compute: Compute[Thing], place: Place, method: Method, seed: int) -> Thing:
    return compute(method, seed, _ingredients(place), ignore_progress)


@cache
def _ingredients(place: Place) -> Ingredients:
    return place.ingredients(_silent)


def _silent(line: str) -> None:
    """Of many processes, the one that they work for speaks."""
