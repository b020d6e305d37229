"""Who may be among the best, found without E* itself; the scorer then looks at just these rows."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.ranking.engines.engine import Selection
from services.ranking.scoring.coarse import CoarseMatrix
from services.ranking.scoring.masking import Visible, forbid
from services.ranking.scoring.scratch import Scratch
from services.ranking.scoring.top_k import top_k


class CandidateSearch(Protocol):
    """Used by one thread at a time."""

    def put(self, rows: Tensor, fused: Tensor) -> None:
        """fused: rows of E* [n, D], known or new."""
        ...

    def find(
        self, states: Tensor, selections: Sequence[Selection], visible: Visible
    ) -> list[NDArray[np.int64] | None]:
        """For o_LLM [B, D]: rows [c] that each request may have; None where only a look at all
        rows can tell."""
        ...


class CoarseSearch:
    """The best rows by a coarse matrix, several times as many as are wanted.

    Each row that may be returned is scored: filters need no care, and a request that few rows are
    left for gets all of them.
    """

    def __init__(self, matrix: CoarseMatrix, device: torch.device) -> None:
        self._matrix = matrix
        self._device = device
        self._scratch = Scratch(device)

    def put(self, rows: Tensor, fused: Tensor) -> None:
        self._matrix.put(rows.to(self._device), fused.to(self._device))

    def find(
        self, states: Tensor, selections: Sequence[Selection], visible: Visible
    ) -> list[NDArray[np.int64] | None]:
        scores = self._scratch.matrix(len(states), len(visible.mask))
        self._matrix.score(states, scores)
        forbid(scores, visible.hidden, selections)
        return [
            rows.cpu().numpy()
            for rows in top_k(scores, [candidates_for(own.k) for own in selections])
        ]


FACTOR = 4
FLOOR = 512


def candidates_for(k: int) -> int:
    """How many rows are scored again to find the best k."""
    return max(FACTOR * k, FLOOR)
