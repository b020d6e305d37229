"""Full-catalogue evaluation: masked, unmasked and by item group, from one scoring pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.metrics import TargetRanks, ranking_metrics, target_ranks
from shared.modeling.sequences import NOT_EVALUATED, ItemRows

# Histories (B arrays of item rows, oldest first) -> scores [B, I] over the whole catalogue.
Scorer = Callable[[list[ItemRows]], Tensor]

HEAD_SHARE = 0.2


@dataclass(frozen=True)
class Metrics:
    """HR@k and nDCG@k of `users` users, with the history left out of the ranking and with it in."""

    users: int
    masked: Mapping[str, float]
    unmasked: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "users": self.users,
            "masked": dict(self.masked),
            "unmasked": dict(self.unmasked),
        }


@dataclass(frozen=True)
class Evaluation:
    """The metrics of all evaluated users, and of those whose target is a head, tail or cold item.

    users: rows of the evaluated users; masked_ranks, unmasked_ranks: their targets' ranks, in the
    same order (for paired tests between models).
    """

    overall: Metrics
    groups: Mapping[str, Metrics]
    users: NDArray[np.int64]
    masked_ranks: Tensor
    unmasked_ranks: Tensor

    @property
    def masked(self) -> Mapping[str, float]:
        return self.overall.masked

    @property
    def unmasked(self) -> Mapping[str, float]:
        return self.overall.unmasked

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `users`, `masked`, `unmasked`, and the same of every group under `groups`."""
        document = self.overall.as_dict()
        if self.groups:
            document["groups"] = {name: group.as_dict() for name, group in self.groups.items()}
        return document


def evaluate(
    score: Scorer,
    histories: Sequence[ItemRows],
    targets: NDArray[np.int64],
    *,
    batch_size: int = 256,
    frequency: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every user with a target (`NOT_EVALUATED` ones are left out).

    histories: one array of item rows a user. targets: [U] item rows. frequency: q [I]; with it the
    head, tail and cold groups of `item_groups` are reported too.
    Users are scored in order of history length, so that a batch pads little.

    Raises InvalidInputError when lengths differ, no user has a target, or the scores do not fit.
    """
    (evaluation,) = evaluate_each(
        lambda batch: (score(batch),),
        histories,
        targets,
        batch_size=batch_size,
        frequency=frequency,
    )
    return evaluation


@torch.inference_mode()
def evaluate_each(
    scores_of: Callable[[list[ItemRows]], Iterable[Tensor]],
    histories: Sequence[ItemRows],
    targets: NDArray[np.int64],
    *,
    batch_size: int = 256,
    frequency: NDArray[np.int64] | None = None,
) -> list[Evaluation]:
    """`evaluate` of several models that share most of their work: `scores_of` gives the scores
    [B, I] of each of them, always in one order."""
    if len(histories) != len(targets):
        raise InvalidInputError.of(
            "targets", f"are {len(targets)}, but there are {len(histories)} histories"
        )
    users = np.flatnonzero(targets != NOT_EVALUATED)
    if users.size == 0:
        raise InvalidInputError.of("targets", "name no item: no user can be evaluated")
    lengths = np.array([len(histories[int(user)]) for user in users])
    by_length = np.argsort(lengths, kind="stable")
    found: dict[int, list[TargetRanks]] = {}
    for start in range(0, len(users), batch_size):
        batch = users[by_length[start : start + batch_size]]
        batch_histories = [histories[int(user)] for user in batch]
        for model, scores in enumerate(scores_of(batch_histories)):
            batch_targets = torch.from_numpy(targets[batch]).to(scores.device)
            _check_scores(scores, batch_histories, batch_targets)
            ranks = target_ranks(scores, batch_targets, _seen(batch_histories, scores))
            found.setdefault(model, []).append(ranks)
    members = {} if frequency is None else item_groups(frequency)
    groups = {name: torch.from_numpy(inside[targets[users]]) for name, inside in members.items()}
    places = torch.from_numpy(np.argsort(by_length))
    return [
        _evaluation(
            users,
            torch.cat([ranks.masked.cpu() for ranks in batches])[places],
            torch.cat([ranks.unmasked.cpu() for ranks in batches])[places],
            groups,
        )
        for batches in found.values()
    ]


def _evaluation(
    users: NDArray[np.int64], masked: Tensor, unmasked: Tensor, groups: Mapping[str, Tensor]
) -> Evaluation:
    of_groups = {
        name: _metrics(masked[inside], unmasked[inside]) for name, inside in groups.items()
    }
    return Evaluation(_metrics(masked, unmasked), of_groups, users, masked, unmasked)


def item_groups(
    frequency: NDArray[np.int64], head_share: float = HEAD_SHARE
) -> dict[str, NDArray[np.bool_]]:
    """Three disjoint groups [I] that cover the catalogue.

    cold: q = 0. head: the most frequent `head_share` of the items with q > 0 (rounded up; of equal
    items the earlier row first). tail: the others.
    """
    seen_items = int(np.count_nonzero(frequency))
    head_items = int(np.ceil(head_share * seen_items))
    head = np.zeros(len(frequency), dtype=np.bool_)
    head[np.argsort(-frequency, kind="stable")[:head_items]] = True
    cold = frequency == 0
    return {"head": head, "tail": ~head & ~cold, "cold": cold}


def popularity_scorer(frequency: NDArray[np.int64]) -> Scorer:
    """The scorer that gives everyone the same list: the score of an item is its q."""
    popularity = torch.from_numpy(frequency.astype(np.float32))
    return lambda histories: popularity.expand(len(histories), -1)


def _metrics(masked: Tensor, unmasked: Tensor) -> Metrics:
    if masked.numel() == 0:
        return Metrics(0, {}, {})
    return Metrics(masked.numel(), ranking_metrics(masked), ranking_metrics(unmasked))


def _seen(histories: Sequence[ItemRows], scores: Tensor) -> Tensor:
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    items = np.concatenate(histories)
    seen = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    seen[torch.from_numpy(rows).to(seen.device), torch.from_numpy(items).to(seen.device)] = True
    return seen


def _check_scores(scores: Tensor, histories: Sequence[ItemRows], targets: Tensor) -> None:
    if scores.ndim != 2 or scores.shape[0] != len(histories):
        raise InvalidInputError.of(
            "scores", f"have the shape {tuple(scores.shape)} for {len(histories)} histories"
        )
    highest = max(int(targets.max()), *(int(h.max()) for h in histories if len(h)), -1)
    if highest >= scores.shape[1]:
        raise InvalidInputError.of(
            "scores", f"cover {scores.shape[1]} items, but row {highest} is a history's or target's"
        )
