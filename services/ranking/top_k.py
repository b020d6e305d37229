"""The k best of each row of a score matrix, ties settled the same way every time."""

from collections.abc import Sequence

import torch
from torch import Tensor


def top_k(scores: Tensor, ks: Sequence[int]) -> list[Tensor]:
    """The columns of the `ks[b]` highest scores of each row of [B, I], best first.

    Equal scores come in the order of their columns. Scores of -inf are never taken, so a row may
    yield fewer.
    """
    wanted = min(max(ks) + 1, scores.shape[1])
    values, columns = scores.topk(wanted, dim=1)
    # A tie between the last one in and the first one out: only a full look tells which are first.
    places = torch.tensor([min(k, wanted) - 1 for k in ks], device=scores.device)
    after = (places + 1).clamp(max=wanted - 1)
    every = torch.arange(len(ks), device=scores.device)
    unsure = (after > places) & (values[every, places] == values[every, after])
    result = []
    for row, (k, is_unsure) in enumerate(zip(ks, unsure.tolist(), strict=True)):
        candidates = columns[row, :k]
        if is_unsure:
            candidates = (scores[row] >= values[row, min(k, wanted) - 1]).nonzero().squeeze(1)
        result.append(_in_order(scores[row], candidates)[:k])
    return result


def _in_order(scores: Tensor, columns: Tensor) -> Tensor:
    columns = columns[scores[columns] > -torch.inf].sort().values
    return columns[scores[columns].argsort(descending=True, stable=True)]
