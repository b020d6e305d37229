"""Scoring catalogues of up to a million items in each mode of `ranking.catalogue`.

    OMP_NUM_THREADS=1 python -m benchmarks.catalogue_size [--items 12000 --items 100000 ...]

The items are made up: rows of E* in clusters of 200, of which few directions hold most of the
variance, with long-tailed lengths; the states lie near clusters' centres. The peer is the product
and `topk` of plain torch, without filters, order of ties or parts of scores. All others are the
scorer itself, which also excludes 20 seen items a request and explains each score.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from services.ranking.engines.engine import ItemRows, Selection
from services.ranking.scoring.candidates import CandidateSearch, CoarseSearch
from services.ranking.scoring.coarse import Float16Matrix, Int8Matrix
from services.ranking.scoring.graph_search import GraphSearch
from services.ranking.scoring.scorer import CatalogueScorer
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.settings import VectorSettings

CPU = torch.device("cpu")
DIMENSION, WIDTH, CLUSTER = 256, 64, 200
K, SEEN = 100, 20
TOGETHER = (1, 32)
MODES = ("exact", "float16", "int8", "approximate")


@dataclass(frozen=True)
class MadeUp:
    """fused: E* [I, D]. states: o_LLM [B, D]."""

    fused: Tensor
    states: Tensor


def made_up(items: int) -> MadeUp:
    """Clustered rows, and states near the clusters."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, DIMENSION + 1).pow(-0.5)
    spread /= spread.square().mean().sqrt()
    centres = torch.randn(max(items // CLUSTER, 1), DIMENSION, generator=generator) * spread
    fused = centres[torch.randint(len(centres), (items,), generator=generator)]
    fused += 0.7 * spread * torch.randn(items, DIMENSION, generator=generator)
    fused *= (0.2 * torch.randn(items, 1, generator=generator)).exp()
    wanted = torch.randint(len(centres), (max(TOGETHER),), generator=generator)
    noise = torch.randn(max(TOGETHER), DIMENSION, generator=generator)
    return MadeUp(fused, centres[wanted] + 0.9 * spread * noise)


def scorer_of(fused: Tensor, search: CandidateSearch | None) -> CatalogueScorer:
    """A scorer whose input table and E_j are small: only E* is measured."""
    encoder = ItemEncoder(
        {Modality.TEXT: torch.zeros(1, WIDTH)},
        {Modality.TEXT: torch.zeros(1, 1, dtype=torch.int64)},
        {Modality.TEXT: torch.zeros(1, 1, DIMENSION)},
    ).requires_grad_(False)
    items = ItemRows(
        inputs=torch.zeros(len(fused), 1),
        fused=fused,
        sequence=torch.zeros(len(fused), 0),
        weights=torch.full((len(fused), 2), 0.5),
        target=fused,
        embeddings={Modality.TEXT: torch.zeros(len(fused), WIDTH)},
    )
    return CatalogueScorer(encoder, items, search)


def milliseconds(action: Callable[[], Any], repeats: int) -> float:
    """The median wall time of one call."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def plain(states: Tensor, fused: Tensor) -> Tensor:
    """The peer: the best rows [B, K]."""
    return (states @ fused.T).topk(K, dim=1).indices


def selections(items: int) -> list[Selection]:
    random = np.random.default_rng(0)
    return [Selection(K, None, random.integers(items, size=SEEN)) for _ in range(max(TOGETHER))]


def recall(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """The mean share of the expected rows that were found."""
    shares = [len(set(f) & set(e)) / len(e) for f, e in zip(found, expected, strict=True)]
    return statistics.mean(shares)


def open_mode(mode: str, fused: Tensor, folder: Path) -> tuple[CandidateSearch | None, float]:
    """The search of a mode, and the megabytes that it holds."""
    match mode:
        case "float16":
            half = Float16Matrix(fused, CPU)
            return CoarseSearch(half, CPU), half.bytes / 2**20
        case "int8":
            small = Int8Matrix(fused, CPU)
            return CoarseSearch(small, CPU), small.bytes / 2**20
        case "approximate":
            before = anonymous_mb()
            graph = GraphSearch.open(fused, VectorSettings(folder=folder), "benchmark", "made-up")
            return graph, anonymous_mb() - before
        case _:
            return None, fused.nbytes / 2**20


def anonymous_mb() -> float:
    """This process's memory that no file holds, in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/smaps_rollup does not say what is anonymous")


@torch.inference_mode()
def measure(items: int, modes: Sequence[str], repeats: int) -> None:
    """Print the table's rows of one size."""
    shop = made_up(items)
    wanted = selections(items)
    exact = [own.rows.tolist() for own in scorer_of(shop.fused, None).best(shop.states, wanted)]
    peers = {}
    for together in TOGETHER:
        states = shop.states[:together]
        spent = milliseconds(partial(plain, states, shop.fused), repeats)
        peers[together] = spent / together
    written = " | ".join(f"{peers[n]:.2f} | 1.0x" for n in TOGETHER)
    print(f"| {items} | peer: torch | {written} | {shop.fused.nbytes / 2**20:.0f} | 1.000 |")
    for mode in modes:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            search, megabytes = open_mode(mode, shop.fused, Path(folder))
            opened = time.perf_counter() - started
            scorer = scorer_of(shop.fused, search)
            cells = []
            for n in TOGETHER:
                rank = partial(scorer.best, shop.states[:n], wanted[:n])
                spent = milliseconds(rank, repeats)
                cells.append(f"{spent / n:.2f} | {peers[n] / (spent / n):.1f}x")
            found = [own.rows.tolist() for own in scorer.best(shop.states, wanted)]
            scorer.close()
        row = [str(items), mode, *cells, f"{megabytes:.0f}", f"{recall(found, exact):.3f}"]
        print(f"| {' | '.join(row)} |   <!-- opened in {opened:.0f} s -->", flush=True)


def main(
    items: Annotated[list[int] | None, typer.Option(min=1000)] = None,
    modes: Annotated[list[str] | None, typer.Option("--mode", help=", ".join(MODES))] = None,
    repeats: Annotated[int, typer.Option(min=1)] = 7,
) -> None:
    """Print the time a request at 1 and at 32 requests together, memory and recall@100."""
    print(f"made-up clustered vectors, D = {DIMENSION}, {torch.get_num_threads()} threads, k = {K}")
    print("| items | way | ms at 1 | times the peer | ms at 32 | times the peer | MB | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for number in items or (12_000, 100_000, 1_000_000):
        measure(number, modes or MODES, repeats)


if __name__ == "__main__":
    typer.run(main)
