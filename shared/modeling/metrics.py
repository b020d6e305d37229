"""Hit ratio and nDCG over the whole catalogue, from the rank of one target item a user.

Ties are averaged: a target that shares its score with n others gets the mean of the ranks they
take together, 1 + #higher + n / 2. A scorer that gives every item the same score therefore ranks
the target in the middle of the catalogue, not first. A rank of 10.5 is no hit at 10.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.errors import InvalidInputError

CUTOFFS = (5, 10, 20)


@dataclass(frozen=True)
class TargetRanks:
    """Ranks [B] (1 = best, averaged over ties) of the targets, in float64.

    masked: among the items outside the history (the target itself is always ranked).
    unmasked: among all items.
    """

    masked: Tensor
    unmasked: Tensor


def target_ranks(scores: Tensor, targets: Tensor, seen: Tensor) -> TargetRanks:
    """Rank the target of each row, with and without its history, from the same scores.

    scores: [B, I]. targets: [B] item rows. seen: [B, I] bool, True for the items of the history.

    Raises InvalidInputError when a score is NaN: a comparison with NaN would rank it first.
    """
    if torch.isnan(scores).any():
        raise InvalidInputError.of("scores", "contain NaN")
    rows = torch.arange(len(targets), device=scores.device)
    target_scores = scores[rows, targets].unsqueeze(1)
    higher = scores > target_scores
    equal = scores == target_scores
    equal[rows, targets] = False
    return TargetRanks(masked=_rank(higher & ~seen, equal & ~seen), unmasked=_rank(higher, equal))


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """HR@k and nDCG@k for k = 5, 10, 20 as `{"hr@5": ..., "ndcg@5": ..., ...}`.

    ranks: [U], 1 = best. With a single relevant item nDCG@k is 1 / log2(1 + rank) within the
    first k places and 0 beyond them.

    Raises InvalidInputError when there are no ranks, or a rank is below 1 or NaN.
    """
    if ranks.numel() == 0:
        raise InvalidInputError.of("ranks", "are empty: no user was evaluated")
    if not bool((ranks >= 1).all()):
        raise InvalidInputError.of("ranks", "must be numbers of at least 1")
    ranks = ranks.to(torch.float64)
    gain = 1 / torch.log2(ranks + 1)
    metrics: dict[str, float] = {}
    for cutoff in CUTOFFS:
        hit = ranks <= cutoff
        metrics[f"hr@{cutoff}"] = float(hit.to(torch.float64).mean())
        metrics[f"ndcg@{cutoff}"] = float((gain * hit).mean())
    return metrics


def _rank(higher: Tensor, equal: Tensor) -> Tensor:
    return 1 + higher.sum(dim=1).to(torch.float64) + equal.sum(dim=1).to(torch.float64) / 2
