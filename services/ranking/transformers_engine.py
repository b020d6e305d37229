"""The engine on transformers: the reference, and what serves where nothing faster can.

requests together -> one forward of the merged LLM -> o_LLM [B, D] -> o E*^T [B, I] -> top-k
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from prometheus_client import Histogram
from torch import Tensor, nn

from services.ranking.engine import ItemRows, Query, TopK
from services.ranking.growing import GrowingTable
from services.ranking.top_k import top_k
from shared.batching import Batcher, in_thread
from shared.modeling.modality import Modality
from shared.modeling.ranker import Ranker
from shared.settings import RankingSettings

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
QUEUE_SECONDS = Histogram(
    "mmesid_ranking_queue_seconds", "How long a request waited for its batch.", buckets=SECONDS
)
COMPUTE_SECONDS = Histogram(
    "mmesid_ranking_compute_seconds", "How long a batch took to compute.", buckets=SECONDS
)
BATCH_SIZE = Histogram(
    "mmesid_ranking_batch_size", "Requests in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)


@dataclass(frozen=True)
class _Queued:
    query: Query
    since: float


class TransformersEngine:
    """A `RankingEngine`; one batch is computed at a time, and row changes wait for it."""

    name = "transformers"

    def __init__(self, ranker: Ranker, items: ItemRows, settings: RankingSettings) -> None:
        """ranker: from `load_for_serving`. items: the bundle's, rows 0..I-1, on its device."""
        self._ranker = ranker
        self._inputs = GrowingTable(items.inputs)
        self._fused = GrowingTable(items.fused)
        self._weights = GrowingTable(items.weights)
        self._target = GrowingTable(items.target)
        self._embeddings = {j: GrowingTable(table) for j, table in items.embeddings.items()}
        # Added to the scores: 0 for items that can be recommended, -inf for hidden ones.
        self._hiding = GrowingTable(torch.zeros(len(items.fused), device=ranker.device))
        self._tables = threading.Lock()
        self._max_batch = settings.max_batch
        self._batcher = Batcher[_Queued, TopK](
            in_thread(self._rank_together),
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            queue_size=settings.queue_size,
        )

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self._ranker.fusion_head.modalities

    async def rank(self, query: Query) -> TopK:
        return await self._batcher.submit(_Queued(query, time.monotonic()))

    async def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        await asyncio.to_thread(self._put, torch.from_numpy(rows).to(self._ranker.device), items)

    async def hide(self, rows: NDArray[np.int64]) -> None:
        await asyncio.to_thread(self._hide, torch.from_numpy(rows).to(self._ranker.device))

    async def warm_up(self) -> None:
        longest = np.zeros(self._ranker.prompt.max_history, dtype=np.int64)
        query = Query(longest, 10, None, np.zeros(0, dtype=np.int64))
        for size in {1, self._max_batch}:
            await asyncio.to_thread(self._compute, [query] * size)

    async def close(self) -> None:
        await self._batcher.close()

    def _put(self, rows: Tensor, items: ItemRows) -> None:
        with self._tables:
            self._inputs.put(rows, items.inputs)
            self._fused.put(rows, items.fused)
            self._weights.put(rows, items.weights)
            self._target.put(rows, items.target)
            for modality, table in self._embeddings.items():
                table.put(rows, items.embeddings[modality])
            self._hiding.put(rows, torch.zeros(len(rows)))

    def _hide(self, rows: Tensor) -> None:
        with self._tables:
            self._hiding.put(rows, torch.full((len(rows),), -torch.inf))

    def _rank_together(self, batch: list[_Queued]) -> Sequence[TopK]:
        now = time.monotonic()
        for queued in batch:
            QUEUE_SECONDS.observe(now - queued.since)
        BATCH_SIZE.observe(len(batch))
        with COMPUTE_SECONDS.time():
            return self._compute([queued.query for queued in batch])

    @torch.inference_mode()
    def _compute(self, queries: Sequence[Query]) -> list[TopK]:
        with self._tables:
            states = self._ranker.hidden_states(
                [query.history for query in queries], self._inputs.rows
            )
            scores = states @ self._fused.rows.T
            scores += self._hiding.rows
            for query, row in zip(queries, scores, strict=True):
                _forbid(row, query)
            best = top_k(scores, [query.k for query in queries])
            parts = self._parts(states, best)
        return [
            TopK(
                rows=rows.cpu().numpy(),
                scores=row[rows].double().cpu().numpy(),
                parts=own.double().cpu().numpy(),
            )
            for rows, row, own in zip(best, scores, parts, strict=True)
        ]

    def _parts(self, states: Tensor, best: Sequence[Tensor]) -> list[Tensor]:
        """Eq. 18 before its sum, of the items of each request: B x [n, 1 + J].

        w_j ((o W_j) s_j^T + o b_j): the states are projected, not the items.
        """
        projections = [
            cast(nn.Linear, self._ranker.item_encoder.projections[j]) for j in self.modalities
        ]
        projected = [states @ projection.weight for projection in projections]
        biases = [states @ projection.bias for projection in projections]
        parts = []
        for request, rows in enumerate(best):
            columns = [self._target.rows[rows] @ states[request]]
            for place, modality in enumerate(self.modalities):
                similarity = self._embeddings[modality].rows[rows] @ projected[place][request]
                columns.append(similarity + biases[place][request])
            parts.append(self._weights.rows[rows] * torch.stack(columns, dim=1))
        return parts


def _forbid(scores: Tensor, query: Query) -> None:
    """Set the scores [I] of items that a request does not want to -inf, in place."""
    if query.allowed is not None:
        known = torch.from_numpy(query.allowed).to(scores.device)[: len(scores)]
        scores[: len(known)].masked_fill_(~known, -torch.inf)
        scores[len(known) :] = -torch.inf
    scores[torch.from_numpy(query.excluded).to(scores.device)] = -torch.inf
