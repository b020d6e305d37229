"""Training on every prefix of a sequence: one pass a sequence against one prompt a prefix.

    python -m benchmarks.shared_prefix --data FOLDER [--settings experiments/beauty.yaml]

Both ways compute loss and gradients of the same targets of the same users, drawn from the data's
own sequences; the largest difference of the gradients is printed beside the times. The peer packs
prompts of like length together, as many as the shared passes have tokens for, so that it pads as
little as they do. `--base smollm2` takes a pretrained model, else the one of the settings.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from experiments.catalogue import read_catalogue
from experiments.settings import read_settings
from shared.modeling.base_model import hidden_size
from shared.modeling.base_source import BaseKind, BaseSource
from shared.modeling.item_encoder import ItemForm
from shared.modeling.modality import Modality
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import build_ranker
from shared.modeling.sequences import ItemRows, Split, leave_one_out
from shared.modeling.window_batches import batches_of, training_windows

SETTINGS = Path("experiments/beauty.yaml")
WIDTH = 64


def made_up_ranker(split: Split, items: int, source: BaseSource, config: RankerConfig) -> Ranker:
    """A ranker over random collaborative embeddings: the LLM is what is measured."""
    generator = torch.Generator().manual_seed(0)
    j = Modality.COLLABORATIVE
    ranker = build_ranker(
        split,
        items,
        {j: torch.randn(items, WIDTH, generator=generator)},
        {j: torch.empty(items, 0, dtype=torch.int64)},
        {j: torch.empty(0, 1, hidden_size(source))},
        source,
        config,
        form=ItemForm(coded=False, joined="sum"),
        fused=False,
    )
    return ranker.eval()  # without dropout both ways have the same gradients


def shared_passes(ranker: Ranker, windows: Sequence[ItemRows], together: int) -> float:
    """Loss of all targets, its gradients added up; one pass for some sequences."""
    total = sum(len(window) - 1 for window in windows)
    loss = 0.0
    for batch in batches_of(windows, together, np.random.default_rng(0)):
        states = ranker.prefix_states(ranker.item_encoder(batch.context))[batch.valid]
        loss += _backward(ranker, states, batch.targets[batch.valid], total)
    return loss


def separate_prompts(ranker: Ranker, windows: Sequence[ItemRows], together: int) -> float:
    """The same with a prompt for each prefix; prompts of like length together."""
    samples = [(window[:end], window[end]) for window in windows for end in range(1, len(window))]
    samples.sort(key=lambda sample: len(sample[0]))
    loss = 0.0
    for start in range(0, len(samples), together):
        some = samples[start : start + together]
        states = ranker.hidden_states([history for history, _ in some])
        targets = torch.tensor([int(target) for _, target in some])
        loss += _backward(ranker, states, targets, len(samples))
    return loss


def _backward(ranker: Ranker, states: Tensor, targets: Tensor, total: int) -> float:
    scores = ranker.fusion_head.scores(states, ranker.item_encoder)
    loss = F.cross_entropy(scores, targets, reduction="sum") / total
    torch.autograd.backward(loss)
    return float(loss.detach())


def _gradients(ranker: Ranker, way: Callable[[], float]) -> tuple[float, list[Tensor]]:
    ranker.zero_grad(set_to_none=True)
    loss = way()
    return loss, [p.grad.clone() for p in ranker.parameters() if p.grad is not None]


def main(
    data: Annotated[Path, typer.Option(help="A folder of data, or `synthetic`.")],
    settings: Annotated[Path, typer.Option(help="A YAML file of experiments/.")] = SETTINGS,
    base: Annotated[str | None, typer.Option(help="smollm2, a folder or a hub id.")] = None,
    users: Annotated[int, typer.Option(min=1)] = 256,
    together: Annotated[int, typer.Option(min=1, help="Sequences a pass.")] = 32,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print targets a second of both ways, and the ratio."""
    chosen = read_settings(settings)
    catalogue = read_catalogue(data, chosen.data, print)
    split = leave_one_out(catalogue.sequences)
    source = chosen.base if base is None else _named(base)
    config = replace(chosen.ranker, train_base=source.kind == BaseKind.TINY)
    generator = np.random.default_rng(0)
    windows = training_windows(split.train, config.max_history, generator)
    windows = [windows[row] for row in generator.permutation(len(windows))[:users]]
    targets = sum(len(window) - 1 for window in windows)
    ranker = made_up_ranker(split, len(catalogue.items), source, config)
    fixed = len(ranker.prompt.prefix) + len(ranker.prompt.suffix)
    prompts = max(1, together * (fixed + targets // users * (1 + len(ranker.prompt.suffix))))
    ways: dict[str, Callable[[], float]] = {
        "peer: a prompt a prefix": lambda: separate_prompts(ranker, windows, prompts // fixed),
        "one pass a sequence": lambda: shared_passes(ranker, windows, together),
    }
    print(f"{users} sequences, {targets} targets, {torch.get_num_threads()} threads\n")
    print("| way | targets/s | times the peer | loss | largest gradient difference |")
    print("|---|---|---|---|---|")
    expected: list[Tensor] = []
    peer = 0.0
    for name, way in ways.items():
        loss, gradients = _gradients(ranker, way)
        expected = expected or gradients
        off = max(
            float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
            for a, b in zip(gradients, expected, strict=True)
        )
        rate = targets / _seconds(ranker, way, repeats)
        peer = peer or rate
        print(f"| {name} | {rate:.0f} | {rate / peer:.2f}x | {loss:.5f} | {off:.1e} |", flush=True)


def _named(base: str) -> BaseSource:
    if base == BaseKind.SMOLLM2:
        return BaseSource(kind=BaseKind.SMOLLM2)
    return BaseSource(kind=BaseKind.CHECKPOINT, name=base)


def _seconds(ranker: Ranker, way: Callable[[], float], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        ranker.zero_grad(set_to_none=True)
        started = time.perf_counter()
        way()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    typer.run(main)
