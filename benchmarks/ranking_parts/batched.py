"""(b) What a competent engineer writes on transformers: one padded forward, one product, top-k."""

from collections.abc import Sequence

import torch

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.waiting_room import Rows
from shared.artifacts.bundle import Bundle


class Batched:
    def __init__(self, bundle: Bundle, device: torch.device, k: int) -> None:
        self._backbone = Backbone.open(bundle, device)
        self._fused = torch.tensor(bundle.catalogue.fused, device=device)
        self._k = k

    @torch.inference_mode()
    def rank(self, histories: Sequence[Rows]) -> list[Rows]:
        """The k best unseen rows of each history, best first."""
        tokens, lengths = self._backbone.prompts(histories)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self._backbone.decoder(
            inputs_embeds=tokens,
            attention_mask=(places < lengths.unsqueeze(1)).long(),
            use_cache=False,
        ).last_hidden_state
        states = hidden[torch.arange(len(histories)), lengths - 1]
        scores = states.to(self._fused.dtype) @ self._fused.T
        for own, history in zip(scores, histories, strict=True):
            own[torch.from_numpy(history).to(own.device)] = -torch.inf
        longest = max(len(history) for history in histories)
        best = scores.topk(min(self._k, scores.shape[1] - longest), dim=1).indices
        return list(best.cpu().numpy())
