"""From the hidden states of a step to the best items of the requests that end in it."""

from collections.abc import Set

import numpy as np
import torch
from torch import Tensor
from vllm.model_executor.layers.pooler import Pooler
from vllm.tasks import PoolingTask
from vllm.v1.outputs import PoolerOutput
from vllm.v1.pool.metadata import PoolingMetadata

from services.ranking.engines.engine import Query, Selection
from services.ranking.engines.vllm_plugin.wire import pack_best, unpack_query
from services.ranking.scoring.scorer import CatalogueScorer

# vLLM tries the pooler with requests of its own before it serves.
NOTHING = np.zeros(0, dtype=np.int64)
TRIAL = Query(NOTHING, Selection(1, None, NOTHING, explain=False))


class BestItems(Pooler):
    """Last token -> o_LLM -> the fusion head, for the whole step at once.

    An error in here would end the whole engine, so requests are checked before they are sent.
    """

    def __init__(self, scorer: CatalogueScorer) -> None:
        super().__init__()
        self._scorer = scorer

    def get_supported_tasks(self) -> Set[PoolingTask]:
        return {"embed"}

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> PoolerOutput:
        """hidden_states: [tokens of the step, D]. A tensor a request, as `pack_best` makes it."""
        cursor = pooling_metadata.get_pooling_cursor()
        finished = [row for row, done in enumerate(cursor.get_finished_mask()) if done]
        outputs: list[Tensor] = [torch.zeros(0)] * len(pooling_metadata.pooling_params)
        if not finished:
            return outputs
        asked = [pooling_metadata.pooling_params[row].extra_kwargs for row in finished]
        queries = [TRIAL if own is None else unpack_query(own) for own in asked]
        states = hidden_states[cursor.last_token_indices_gpu[finished]]
        with self._scorer.hold:
            states = self._scorer.with_sequence(states, [query.history for query in queries])
            best = self._scorer.best(states, [query.selection for query in queries])
        for row, own in zip(finished, best, strict=True):
            outputs[row] = pack_best(own)
        return outputs
