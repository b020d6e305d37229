"""Changes of items, carried out in vLLM's process between two of its steps."""

from typing import Any

import numpy as np
import torch

from services.ranking.engines.vllm_plugin.wire import unpack_items
from services.ranking.scoring.scorer import CatalogueScorer


class ItemUpdates:
    """Methods that vLLM adds to its worker; `AsyncLLM.collective_rpc` calls them by name."""

    model_runner: Any

    @property
    def _scorer(self) -> CatalogueScorer:
        scorer: CatalogueScorer = self.model_runner.get_model().scorer
        return scorer

    def put_items(self, data: bytes) -> bool:
        """As `CatalogueScorer.put`, for `pack_items`."""
        scorer = self._scorer
        rows, items = unpack_items(data)
        with scorer.hold:
            return scorer.put(rows.to(scorer.inputs.device), items)

    def hide_items(self, rows: bytes) -> None:
        """rows: int64."""
        scorer = self._scorer
        hidden = torch.from_numpy(np.frombuffer(rows, dtype=np.int64).copy())
        with scorer.hold:
            scorer.hide(hidden.to(scorer.inputs.device))
