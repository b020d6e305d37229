"""Vectors an item lacks, from its neighbours: the mean of theirs, weighted by similarity."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def similarity_weights(similarities: Sequence[float]) -> NDArray[np.float64]:
    """Weights [n] that sum to 1, in proportion to the cosine similarities [n].

    A neighbour on the other side (similarity below 0) has no say; where all are, all count alike.
    """
    positive = np.clip(np.asarray(similarities, dtype=np.float64), 0.0, None)
    total = positive.sum()
    if total == 0.0:
        return np.full(len(positive), 1.0 / len(positive))
    return np.asarray(positive / total)


def weighted_mean(
    weights: NDArray[np.float64], vectors: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """[D] of weights [n] and vectors n x [D], at the precision that vectors are stored with.

    Rounded to float16: an item's semantic IDs do not depend on whether the vector was read back.
    """
    mean = weights @ np.stack(vectors).astype(np.float64)
    return mean.astype(np.float16).astype(np.float32)
