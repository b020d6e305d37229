"""Scoring a whole catalogue: the fused matrix against Eq. 18 as it is written.

    python -m benchmarks.fused_scoring [--items 12086] [--dimension 576]

The peer is how the method is usually run: at each request the catalogue goes through every W_j.
All three ways give the same scores; the largest difference is printed beside the times.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import Tensor

from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality

WIDTHS = {Modality.COLLABORATIVE: 64, Modality.TEXT: 384, Modality.VISUAL: 1280}
CODEBOOK = (4, 256)


def made_up_model(items: int, dimension: int) -> tuple[FusionHead, ItemEncoder]:
    """A head and an encoder of the small profile's widths, with random weights."""
    generator = torch.Generator().manual_seed(0)
    encoder = ItemEncoder(
        {j: torch.randn(items, width, generator=generator) for j, width in WIDTHS.items()},
        {j: torch.randint(CODEBOOK[1], (items, CODEBOOK[0]), generator=generator) for j in WIDTHS},
        {j: torch.randn(*CODEBOOK, dimension, generator=generator) for j in WIDTHS},
    )
    frequency = torch.randint(500, (items,), generator=generator)
    return FusionHead(frequency, encoder.modalities, dimension).eval(), encoder.eval()


def as_written(head: FusionHead, encoder: ItemEncoder, states: Tensor) -> Tensor:
    """Eq. 18: every item through every W_j, then the dot products; one request at a time."""
    rows = []
    for state in states.split(1):
        weights = head.weights()
        scores = weights[:, 0] * (state @ head.target_table.T)
        for place, modality in enumerate(head.modalities, start=1):
            projected = encoder.project(modality, encoder.embeddings(modality))
            scores = scores + weights[:, place] * (state @ projected.T)
        rows.append(scores)
    return torch.cat(rows)


def milliseconds(action: Callable[[], Tensor], repeats: int) -> float:
    """The median wall time of one call."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main(
    items: Annotated[int, typer.Option(min=1)] = 12_086,
    dimension: Annotated[int, typer.Option(min=1)] = 576,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Print the time a request for each way, at 1 and at 32 requests together."""
    head, encoder = made_up_model(items, dimension)
    with torch.inference_mode():
        fused = head.fused_matrix(encoder).T.contiguous()
        print(f"{items} items, D = {dimension}, {torch.get_num_threads()} threads")
        print("| requests together | way | ms a request | times the peer | largest difference |")
        print("|---|---|---|---|---|")
        for together in (1, 32):
            states = torch.randn(together, dimension, generator=torch.Generator().manual_seed(1))
            ways: dict[str, Callable[[], Tensor]] = {
                "peer: Eq. 18 as written": lambda s=states: as_written(head, encoder, s),
                "without projection": lambda s=states: head.scores_without_projection(s, encoder),
                "fused matrix": lambda s=states: s @ fused,
            }
            expected = ways["peer: Eq. 18 as written"]()
            peer = None
            for name, way in ways.items():
                spent = milliseconds(way, repeats) / together
                peer = peer or spent
                off = float((way() - expected).abs().max() / expected.abs().max())
                print(f"| {together} | {name} | {spent:.2f} | {peer / spent:.1f}x | {off:.1e} |")


if __name__ == "__main__":
    typer.run(main)
