"""(a) As the authors' code runs it: one user at a time, the catalogue through every W_j each time.

It is spared what else slows that code down: the adapter is merged and the weights are not 4-bit.
"""

from collections.abc import Sequence

import torch

from benchmarks.fused_scoring import as_written
from benchmarks.ranking_parts.waiting_room import Rows
from shared.artifacts.bundle import Bundle
from shared.modeling.ranker import load_for_serving


class OneByOne:
    def __init__(self, bundle: Bundle, device: torch.device, k: int) -> None:
        self._ranker = load_for_serving(bundle.ranker).to(device)
        self._k = k

    @torch.inference_mode()
    def rank(self, histories: Sequence[Rows]) -> list[Rows]:
        """The k best unseen rows of each history, best first."""
        found = []
        for history in histories:
            state = self._ranker.hidden_states([history])
            scores = as_written(self._ranker.fusion_head, self._ranker.item_encoder, state)[0]
            scores[torch.from_numpy(history).to(scores.device)] = -torch.inf
            found.append(
                scores.topk(min(self._k, len(scores) - len(history))).indices.cpu().numpy()
            )
        return found
