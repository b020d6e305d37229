"""What runs the LLM and scores the catalogue: a history of rows in, the best rows out.

An engine serves one bundle. It holds a table of input embeddings (Eq. 16) and the fused matrix E*
(Eq. 18), a row an item; only rows, scores and parts leave it, and only rows go in with a request.
Rows are added and overwritten while it serves; ids, versions and filters are not its business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.modeling.modality import Modality


@dataclass(frozen=True)
class Selection:
    """Which items a request wants.

    k: how many. allowed: [m] bool, which rows may be returned; rows from m on may not. None allows
    all. excluded: rows that may not be returned, in any order. explain: whether the parts of the
    scores are wanted.
    """

    k: int
    allowed: NDArray[np.bool_] | None
    excluded: NDArray[np.int64]
    explain: bool = True


@dataclass(frozen=True)
class Query:
    """One request. history: item rows [n], oldest first, n >= 1."""

    history: NDArray[np.int64]
    selection: Selection


@dataclass(frozen=True)
class TopK:
    """The best items, best first, ties in the order of the rows; fewer than k if few are allowed.

    rows: [n] int64. scores: [n]. parts: [n, 1 + J], the parts x, then the modalities of the ranker
    in the order of `Modality`, then, in one more column, what SASRec adds where it takes part; they
    sum to the score. [n, 0] where they are not wanted.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: NDArray[np.float64]


@dataclass(frozen=True)
class ItemRows:
    """All that an engine keeps of n items.

    inputs: Eq. 16, [n, D]. fused: rows of E* with w S beside them, [n, D + D_s]
    (`Ranker.fused_matrix`). sequence: S, what SASRec reads items as, [n, D_s]; D_s is 0 where it
    takes no part. weights: Eq. 17, [n, 1 + J]. target: E_x [n, D]. embeddings: E_j [n, D_j]. The
    last three only explain scores.
    """

    inputs: Tensor
    fused: Tensor
    sequence: Tensor
    weights: Tensor
    target: Tensor
    embeddings: Mapping[Modality, Tensor]


class RankingEngine(Protocol):
    """An engine that serves one bundle."""

    @property
    def name(self) -> str:
        """What responses say of who ranked."""
        ...

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of `TopK.parts`, after the target part."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether it can rank now; an engine that starts again by itself will be able to."""
        ...

    async def rank(self, query: Query) -> TopK:
        """The best items for a history.

        Raises:
            OverloadedError: too many requests wait.
            UnavailableError: the engine is not there, or was closed.
        """
        ...

    async def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        """Write the rows of n items, known or new, and let them be recommended.

        Requests that come after it returns see them.
        """
        ...

    async def hide(self, rows: NDArray[np.int64]) -> None:
        """Recommend these rows no more; histories may still hold them."""
        ...

    async def warm_up(self) -> None:
        """Run it once, so that the first request is as fast as the next."""
        ...

    async def close(self) -> None:
        """Finish what waits and free what is held."""
        ...
