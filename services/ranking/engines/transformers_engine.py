"""The engine on transformers: the reference, and what serves where nothing faster can.

requests together -> one forward of the merged LLM -> o_LLM [B, D] -> o E*^T [B, I] -> top-k
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.ranking.engines.engine import ItemRows, Query, Selection, TopK
from services.ranking.metrics import BATCH_SIZE, COMPUTE_SECONDS, QUEUE_SECONDS
from services.ranking.scoring.scorer import CatalogueScorer
from shared.artifacts.bundle import Bundle
from shared.batching import Batcher
from shared.computing import compute
from shared.modeling.modality import Modality
from shared.modeling.packed_linear import pack_linears
from shared.modeling.ranker import Ranker, load_for_serving
from shared.settings import RankingSettings


@dataclass(frozen=True)
class _Queued:
    query: Query
    since: float


class TransformersEngine:
    """A `RankingEngine`; one batch is computed at a time, and row changes wait for it."""

    name = "transformers"
    is_ready = True  # it has no process of its own that could end

    def __init__(self, ranker: Ranker, scorer: CatalogueScorer, settings: RankingSettings) -> None:
        """ranker: from `load_for_serving`, on the device of the scorer's tables."""
        self._decoder = ranker.serving_decoder(cache_bytes=settings.kv_cache_bytes)
        self._longest = ranker.prompt.max_history
        self._scorer = scorer
        self._max_batch = settings.max_batch
        self._batcher = Batcher[_Queued, TopK](
            lambda batch: compute(self._rank_together, batch),
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            queue_size=settings.queue_size,
        )

    @classmethod
    def open(cls, bundle: Bundle, settings: RankingSettings) -> Self:
        """Read the bundle's files."""
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        device = serving_device(settings.device)
        ranker = load_for_serving(bundle.ranker)
        ranker.language_model.to(device)
        if device.type == "cpu":
            pack_linears(ranker.decoder)
        scorer = CatalogueScorer.open(bundle, device, settings.catalogue, settings.candidates)
        return cls(ranker, scorer, settings)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._scorer.modalities

    async def rank(self, query: Query) -> TopK:
        return await self._batcher.submit(_Queued(query, time.monotonic()))

    async def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        await compute(self._put, torch.from_numpy(rows).to(self._decoder.device), items)

    async def hide(self, rows: NDArray[np.int64]) -> None:
        await compute(self._hide, torch.from_numpy(rows).to(self._decoder.device))

    async def warm_up(self) -> None:
        longest = np.zeros(self._longest, dtype=np.int64)
        query = Query(longest, Selection(10, None, np.zeros(0, dtype=np.int64)))
        for size in {1, self._max_batch}:
            await compute(self._compute, [query] * size)

    async def close(self) -> None:
        await self._batcher.close()
        await compute(self._scorer.close)

    def _put(self, rows: Tensor, items: ItemRows) -> None:
        with self._scorer.hold:
            if self._scorer.put(rows, items):
                self._decoder.forget_histories()

    def _hide(self, rows: Tensor) -> None:
        with self._scorer.hold:
            self._scorer.hide(rows)

    def _rank_together(self, batch: list[_Queued]) -> Sequence[TopK]:
        now = time.monotonic()
        for queued in batch:
            QUEUE_SECONDS.observe(now - queued.since)
        BATCH_SIZE.observe(len(batch))
        best = self._compute([queued.query for queued in batch])
        computed = time.monotonic() - now
        for _ in batch:
            COMPUTE_SECONDS.observe(computed)
        return best

    @torch.inference_mode()
    def _compute(self, queries: Sequence[Query]) -> list[TopK]:
        with self._scorer.hold:
            histories = [query.history for query in queries]
            states = self._decoder.states(histories, self._scorer.inputs)
            states = self._scorer.with_sequence(states, histories)
            return self._scorer.best(states, [query.selection for query in queries])


def serving_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
