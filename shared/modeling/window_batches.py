"""Batches of windows of user sequences, as the ranker trains on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.modeling.sequences import ItemRows

_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class WindowBatch:
    """context [B, n]: item rows, padded on the right with 0. targets [B, n]: the item that follows
    each, where `valid` [B, n]; the rest is padding."""

    context: Tensor
    targets: Tensor
    valid: Tensor


def batches_of(
    windows: Sequence[ItemRows], batch_size: int, generator: np.random.Generator
) -> list[WindowBatch]:
    """Shuffled batches of windows of similar length, so that little is padding."""
    order = generator.permutation(len(windows))
    lengths = np.array([len(window) for window in windows])
    batches: list[NDArray[np.int64]] = []
    pool = batch_size * _SORTED_TOGETHER
    for start in range(0, len(order), pool):
        together = order[start : start + pool]
        together = together[np.argsort(-lengths[together], kind="stable")]
        batches += [together[at : at + batch_size] for at in range(0, len(together), batch_size)]
    return [
        _pad([windows[place] for place in batches[number]])
        for number in generator.permutation(len(batches))
    ]


def _pad(windows: Sequence[ItemRows]) -> WindowBatch:
    longest = max(len(window) for window in windows) - 1
    rows = np.zeros((2, len(windows), longest), dtype=np.int64)
    valid = np.zeros((len(windows), longest), dtype=np.bool_)
    for place, window in enumerate(windows):
        number = len(window) - 1
        rows[0, place, :number] = window[:-1]
        rows[1, place, :number] = window[1:]
        valid[place, :number] = True
    return WindowBatch(
        torch.from_numpy(rows[0]), torch.from_numpy(rows[1]), torch.from_numpy(valid)
    )
