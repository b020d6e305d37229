"""Kendall's tau between two models' distances: how much distance information is kept (Sec. 3.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.sequences import NOT_EVALUATED, ItemRows


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Eq. 9 as the paper writes it: (#concordant - #discordant) / #pairs, over all pairs.

    A pair tied in either variable is neither, but counts as a pair. O(n log n).

    Raises InvalidInputError when a and b are not two variables of the same n >= 2 finite values.
    """
    x, y = _two_variables(a, b)
    pairs = len(x) * (len(x) - 1) / 2
    untied_x, untied_y = pairs - _tied_pairs(x), pairs - _tied_pairs(y)
    if untied_x == 0 or untied_y == 0:
        return 0.0
    # tau-b is the same difference over sqrt(untied_x * untied_y).
    return float(kendalltau(x, y).statistic * np.sqrt(untied_x * untied_y) / pairs)


def kendall_tau_b(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b: corrected for ties. NaN when one variable is constant. O(n log n).

    Raises InvalidInputError when a and b are not two variables of the same n >= 2 finite values.
    """
    x, y = _two_variables(a, b)
    return float(kendalltau(x, y).statistic)


def behavioural_target_distances(
    embeddings: Tensor, histories: Sequence[ItemRows], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Euclidean distances of each user's behavioural items to the target item, all in one array.

    embeddings: [I, D]. histories: one array of item rows a user. targets: [U] item rows, -1 for
    users without one. The order is that of the users and of their items, the same for every
    table of embeddings, so that two results can be compared by `kendall_tau`.
    """
    if len(histories) != len(targets):
        raise InvalidInputError.of(
            "targets", f"are {len(targets)}, but there are {len(histories)} histories"
        )
    # Rows in double precision as they are needed: the table may be large.
    table = embeddings.detach().cpu()
    distances = [
        (table[torch.from_numpy(history)].double() - table[int(target)].double())
        .norm(dim=1)
        .numpy()
        for history, target in zip(histories, targets, strict=True)
        if target != NOT_EVALUATED and len(history)
    ]
    return np.concatenate(distances) if distances else np.empty(0)


def _two_variables(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise InvalidInputError.of(
            "b", f"must be as long as a, and of at least 2 values: {y.shape}, a is {x.shape}"
        )
    for name, values in (("a", x), ("b", y)):
        if not np.isfinite(values).all():
            raise InvalidInputError.of(name, "must be finite")
    return x, y


def _tied_pairs(values: NDArray[np.float64]) -> float:
    _, counts = np.unique(values, return_counts=True)
    return float((counts * (counts - 1) / 2).sum())
