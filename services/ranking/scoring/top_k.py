"""The k best of each row of a score matrix, ties settled the same way every time."""

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor

ONE_LOOK = 2**15
"""So many columns are ranked at once; among more, the best chunks are found first."""


def top_k(scores: Tensor, ks: Sequence[int]) -> list[Tensor]:
    """The columns of the `ks[b]` highest scores of each row of [B, I], best first.

    Equal scores come in the order of their columns. Scores of -inf are never taken, so a row may
    yield fewer.
    """
    wanted = min(max(ks) + 1, scores.shape[1])
    values, columns = _in_order(*_best(scores, wanted))
    # A tie between the last one in and the first one out: only a full look tells which are first.
    places = torch.tensor([min(k, wanted) - 1 for k in ks], device=scores.device)
    after = (places + 1).clamp(max=wanted - 1)
    every = torch.arange(len(ks), device=scores.device)
    unsure = (after > places) & (values[every, places] == values[every, after])
    unsure &= values[every, places] > -torch.inf
    counts = (values > -torch.inf).sum(dim=1)
    result = []
    for row, (k, is_unsure, count) in enumerate(
        zip(ks, unsure.tolist(), counts.tolist(), strict=True)
    ):
        if is_unsure:
            result.append(_full_look(scores[row], values[row, k - 1])[:k])
        else:
            result.append(columns[row, : min(k, count)])
    return result


def _best(scores: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """Values and columns [B, wanted] of the highest scores, in any order.

    Only the `wanted` chunks with the highest maxima can hold one of them, or scores that tie with
    the last: a maximum costs one comparison a score, and ranking more than that.
    """
    together, items = scores.shape
    width = 1 << (isqrt(items // wanted).bit_length() - 1)
    chunks = items // width
    if items <= ONE_LOOK or width == 1:
        values, columns = scores.topk(wanted, dim=1)
        return values, columns
    maxima = scores[:, : chunks * width].reshape(together, chunks, width).amax(dim=2)
    best = maxima.topk(wanted, dim=1, sorted=False).indices
    within = torch.arange(width, device=scores.device)
    columns = (best.unsqueeze(2) * width + within).flatten(1)
    rest = torch.arange(chunks * width, items, device=scores.device).expand(together, -1)
    columns = torch.cat([columns, rest], dim=1)
    values, places = scores.gather(1, columns).topk(wanted, dim=1)
    return values, columns.gather(1, places)


def _in_order(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """[B, n] each: best first, equal values in the order of their columns."""
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _full_look(scores: Tensor, least: Tensor) -> Tensor:
    """All columns of [I] with at least this score, in order."""
    columns = (scores >= least).nonzero().squeeze(1)
    return columns[scores[columns].argsort(descending=True, stable=True)]
