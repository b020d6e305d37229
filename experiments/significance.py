"""Is one method better than another? Paired over the users, whose ranks both have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, ttest_rel

from shared.errors import InvalidInputError

CUTOFF = 10


@dataclass(frozen=True)
class Comparison:
    """difference: of the mean nDCG@10, first minus second. interval: 95 % around it.
    p: of a two-sided paired t-test; 1 where no user's ranks differ."""

    difference: float
    interval: tuple[float, float]
    p: float


def compare(
    first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]]
) -> Comparison:
    """The ranks [U] of the users' targets, an array a seed; users in the same order throughout.

    A user's nDCG@10 is first averaged over the seeds: seeds are no independent users.

    Raises InvalidInputError when there are fewer than two users, or not the same ones.
    """
    shapes = {ranks.shape for ranks in (*first, *second)}
    if len(shapes) != 1 or next(iter(shapes))[0] < 2:
        raise InvalidInputError.of("ranks", f"must be of the same two users or more: {shapes}")
    ours, theirs = _mean_ndcg(first), _mean_ndcg(second)
    differences = ours - theirs
    difference = float(differences.mean())
    if not differences.any():
        return Comparison(0.0, (0.0, 0.0), 1.0)
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    reach = float(t.ppf(0.975, len(differences) - 1)) * error
    p = float(ttest_rel(ours, theirs).pvalue)
    return Comparison(difference, (difference - reach, difference + reach), p)


def _mean_ndcg(seeds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[U]; with one target nDCG@k is 1 / log2(rank + 1) for ranks up to k, else 0."""
    gains = [np.where(ranks <= CUTOFF, 1 / np.log2(ranks + 1), 0.0) for ranks in seeds]
    mean: NDArray[np.float64] = np.mean(gains, axis=0)
    return mean
