"""The figures of a replay, as JSON has them.

all      every target
before   targets that the first bundle was trained with
since    items that came after it, before the slice: known to those who retrained
new      items that are first met in the slice: known to none
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.online_loop.replay import Slice, first_replayed
from experiments.online_loop.timeline import Timeline
from shared.modeling.metrics import ranking_metrics

CUTOFF = 10
METRICS = (f"ndcg@{CUTOFF}", f"hr@{CUTOFF}")
ALL, NEW = "all", "new"
OF_NORMAL_95 = 1.96

Document = Mapping[str, Any]


def measured(timeline: Timeline, slices: Sequence[Slice]) -> dict[str, Any]:
    """`slices`: each one's figures. `retrained`: of the targets of all slices after the first,
    together. `gain`: there, of each way to retrain over the frozen bundle."""
    own = [_of_slice(timeline, one) for one in slices]
    later = slices[1:]
    document: dict[str, Any] = {"slices": own}
    if later:
        ranks = _joined(later)
        groups = [_groups(timeline, one) for one in later]
        together = {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}
        users = np.concatenate([timeline.users[one.targets] for one in later])
        document["retrained"] = _figures(ranks, together)
        document["gain"] = {
            curve: gain(ranks[curve], ranks["frozen"], users)
            for curve in ranks
            if curve != "frozen"
        }
    return document


def gain(
    ranks: NDArray[np.float64], over: NDArray[np.float64], users: NDArray[np.int64]
) -> dict[str, Any]:
    """difference: of the mean nDCG@10 of the targets. interval: 95 % around it; the targets of a
    user may all differ for one reason, so that users are what there are many of."""
    differences = _ndcg(ranks) - _ndcg(over)
    mean = float(differences.mean())
    of_user = np.bincount(users, weights=differences - mean)
    reach = OF_NORMAL_95 * float(np.sqrt(np.square(of_user).sum())) / len(users)
    return {"difference": mean, "interval": [mean - reach, mean + reach]}


def _of_slice(timeline: Timeline, one: Slice) -> dict[str, Any]:
    return {
        "events": [one.first, one.last],
        "replayed_before": one.first - first_replayed(timeline),
        "from": timeline.times[one.first].date().isoformat(),
        "until": timeline.times[one.last - 1].date().isoformat(),
        "users": len(np.unique(timeline.users[one.targets])),
        **_figures(one.ranks, _groups(timeline, one)),
        "trainings": {
            curve: {"seconds": training.seconds, **training.kept}
            for curve, training in one.trainings.items()
        },
    }


def _groups(timeline: Timeline, one: Slice) -> dict[str, NDArray[np.bool_]]:
    rows = timeline.rows[one.targets]
    at_first = timeline.items_met(first_replayed(timeline))
    at_slice = timeline.items_met(one.first)
    return {
        ALL: np.ones(len(rows), dtype=np.bool_),
        "before": rows < at_first,
        "since": (rows >= at_first) & (rows < at_slice),
        NEW: rows >= at_slice,
    }


def _figures(
    ranks: Mapping[Any, NDArray[np.float64]], groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """By group the number of targets and each curve's metrics; none of a group without any."""
    return {
        "targets": {name: int(members.sum()) for name, members in groups.items()},
        "curves": {
            curve: {
                name: _metrics(own[members]) for name, members in groups.items() if members.any()
            }
            for curve, own in ranks.items()
        },
    }


def _metrics(ranks: NDArray[np.float64]) -> dict[str, float]:
    all_metrics = ranking_metrics(torch.from_numpy(ranks))
    return {name: all_metrics[name] for name in METRICS}


def _ndcg(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(ranks <= CUTOFF, 1 / np.log2(ranks + 1), 0.0)


def _joined(slices: Sequence[Slice]) -> dict[Any, NDArray[np.float64]]:
    curves = slices[0].ranks
    return {curve: np.concatenate([one.ranks[curve] for one in slices]) for curve in curves}
