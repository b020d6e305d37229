"""What ranks when the LLM cannot: SASRec, which every bundle was made with.

    history -- rows it was trained on --> SASRec --> [I] -- not trained, not wanted: -inf --> top-k

It runs on the CPU of the service's own process and needs nothing that an engine needs.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from services.ranking.engines.engine import Query
from services.ranking.scoring.top_k import top_k
from shared.artifacts.bundle import Bundle
from shared.batching import Batcher
from shared.computing import apart
from shared.errors import UnavailableError
from shared.modeling.sasrec import SASRec
from shared.settings import RankingSettings

Ranked = tuple[NDArray[np.int64], NDArray[np.float64]]


class SASRecFallback:
    """Ranks the items that SASRec met in training: not later ones, nor those nobody had bought."""

    def __init__(
        self, model: SASRec, trained: NDArray[np.bool_], settings: RankingSettings
    ) -> None:
        """trained: [I] bool, the rows that occur in the training sequences."""
        self._model = model
        self._trained = trained
        # One outage sends every request here: together they are one product, too many are refused.
        self._batcher = Batcher[Query, Ranked](
            # The computing thread may be what this one stands in for.
            lambda batch: apart(self._rank_together, batch),
            max_batch=settings.max_batch,
            max_wait_ms=0,
            queue_size=settings.queue_size,
        )

    @classmethod
    def open(cls, bundle: Bundle, settings: RankingSettings) -> Self | None:
        """Read the bundle's SASRec; None where the bundle was made without one.

        Raises UnavailableError where it is broken, or not that of the bundle's items.
        """
        if not bundle.collaborative.is_dir():
            return None
        try:
            model = SASRec.load(bundle.collaborative)
        except FileNotFoundError as error:
            raise UnavailableError(f"{bundle.collaborative} lacks {error.filename}") from error
        trained = bundle.catalogue.frequency > 0
        if model.number_of_items != len(trained):
            raise UnavailableError(
                f"{bundle.collaborative} knows {model.number_of_items} items, "
                f"the bundle has {len(trained)}"
            )
        return cls(model, trained, settings)

    async def rank(self, query: Query) -> Ranked:
        """Rows [n] and scores [n], best first, ties in the order of the rows.

        None at all where SASRec knows nothing of the history, or may return nothing that it knows.

        Raises:
            OverloadedError: too many requests wait.
            UnavailableError: it was closed.
        """
        if not len(self._known(query.history)):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        return await self._batcher.submit(query)

    async def close(self) -> None:
        """Finish what waits."""
        await self._batcher.close()

    def _known(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        within = rows[rows < len(self._trained)]
        return within[self._trained[within]]

    @torch.inference_mode()
    def _rank_together(self, queries: Sequence[Query]) -> list[Ranked]:
        scores = self._model.score([self._known(query.history) for query in queries])
        for query, row in zip(queries, scores, strict=True):
            row[torch.from_numpy(~self._may_return(query))] = -torch.inf
        best = top_k(scores, [query.selection.k for query in queries])
        return [
            (rows.numpy(), row[rows].double().numpy())
            for rows, row in zip(best, scores, strict=True)
        ]

    def _may_return(self, query: Query) -> NDArray[np.bool_]:
        """[I] bool."""
        mask = self._trained.copy()
        allowed = query.selection.allowed
        if allowed is not None:
            mask[: len(allowed)] &= allowed[: len(mask)]
            mask[len(allowed) :] = False
        mask[self._known(query.selection.excluded)] = False
        return mask
