"""Windows of user sequences, and batches of them: what every next-item model here trains on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from shared.modeling.sequences import ItemRows

_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class WindowBatch:
    """context [B, n]: item rows, padded on the right with 0. targets [B, n]: the item that follows
    each, where `valid` [B, n]; the rest is padding.

    weight: of the batch's mean loss, the number of its targets by that of a batch of the epoch on
    average. Batches are of windows of like length, so those of short ones have few targets: each
    of them would move the weights by more than one of a long window.
    """

    context: Tensor
    targets: Tensor
    valid: Tensor
    weight: float = 1.0


def training_windows(
    train: Sequence[ItemRows], max_length: int, generator: np.random.Generator
) -> list[ItemRows]:
    """Cut every sequence into windows of at most `max_length` + 1 items; each pair once.

    Consecutive windows share one item: the last target of one is the first input of the next.
    A sequence longer than one window is cut at a random offset, another one every epoch, so
    that no item is always seen without the items before it.
    """
    windows: list[ItemRows] = []
    for items in train:
        pairs = len(items) - 1
        if pairs < 1:
            continue
        offset = int(generator.integers(1, max_length + 1)) if pairs > max_length else pairs
        cuts = [0, *range(offset, pairs, max_length), pairs]
        windows.extend(items[start : end + 1] for start, end in pairwise(cuts))
    return windows


def batches_of(
    windows: Sequence[ItemRows], batch_size: int, generator: np.random.Generator
) -> list[WindowBatch]:
    """Shuffled batches of windows of similar length, so that little is padding.

    The windows are shuffled, then sorted by length within groups of some batches: every epoch a
    window has other companions.
    """
    order = generator.permutation(len(windows))
    lengths = np.array([len(window) for window in windows])
    batches: list[ItemRows] = []
    pool = batch_size * _SORTED_TOGETHER
    for start in range(0, len(order), pool):
        together = order[start : start + pool]
        together = together[np.argsort(-lengths[together], kind="stable")]
        batches += [together[at : at + batch_size] for at in range(0, len(together), batch_size)]
    targets_a_batch = (lengths - 1).sum() / max(1, len(batches))
    return [
        _padded([windows[place] for place in batches[number]], targets_a_batch)
        for number in generator.permutation(len(batches))
    ]


def _padded(windows: Sequence[ItemRows], targets_a_batch: float) -> WindowBatch:
    longest = max(len(window) for window in windows) - 1
    rows = np.zeros((2, len(windows), longest), dtype=np.int64)
    valid = np.zeros((len(windows), longest), dtype=np.bool_)
    for place, window in enumerate(windows):
        number = len(window) - 1
        rows[0, place, :number] = window[:-1]
        rows[1, place, :number] = window[1:]
        valid[place, :number] = True
    return WindowBatch(
        torch.from_numpy(rows[0]),
        torch.from_numpy(rows[1]),
        torch.from_numpy(valid),
        weight=float(valid.sum() / targets_a_batch),
    )
