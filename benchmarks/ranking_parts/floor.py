"""The floor: what no way that runs this LLM over new users and scores every item can go below.

The merged Llama over the tokens that differ between users, behind cached keys and values of the
prompt's beginning, all of one length, and one product with E*: no queue, no filter, no top-k.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.waiting_room import Rows
from shared.artifacts.bundle import Bundle

AT_LEAST = 3


class Floor:
    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._backbone = Backbone.open(bundle, device)
        self._fused = torch.tensor(bundle.catalogue.fused, device=device).T.contiguous()
        self._known = self._prefix_cache()

    def fresh(self, histories: Sequence[Rows]) -> Tensor:
        """Embeddings [B, n + R, D] of what follows the prompt's beginning, for equal lengths n."""
        tokens, _ = self._backbone.prompts(histories)
        return tokens[:, len(self._backbone.prefix) :].contiguous()

    @torch.inference_mode()
    def scores(self, fresh: Tensor) -> Tensor:
        """[B, I] of the tokens of `fresh`."""
        number = len(fresh)
        cache = DynamicCache(
            [
                (keys.expand(number, -1, -1, -1), values.expand(number, -1, -1, -1))
                for keys, values in self._known
            ]
        )
        hidden: Tensor = self._backbone.decoder(
            inputs_embeds=fresh, past_key_values=cache, use_cache=True
        ).last_hidden_state
        states = hidden[:, -1].to(self._fused.dtype)
        return states @ self._fused

    @torch.inference_mode()
    def _prefix_cache(self) -> list[tuple[Tensor, Tensor]]:
        cache = DynamicCache(config=self._backbone.decoder.config)
        self._backbone.decoder(
            inputs_embeds=self._backbone.prefix.unsqueeze(0), past_key_values=cache, use_cache=True
        )
        return [(layer.keys, layer.values) for layer in cache.layers]


def milliseconds_a_request(
    floor: Floor, histories: Sequence[Rows], concurrency: Sequence[int], seconds: float
) -> dict[int, float]:
    """For each number of requests in flight the least time, over all sizes of batches up to it.

    histories: at least as many as the largest number, of equal length. seconds: for each number.
    """
    powers = {2**power for power in range(max(concurrency).bit_length())}
    sizes = sorted({1, *concurrency, *(size for size in powers if size <= max(concurrency))})
    actions = [partial(floor.scores, floor.fresh(histories[:size])) for size in sizes]
    medians = _median_seconds(actions, seconds * len(concurrency))
    each = {size: 1000 * spent / size for size, spent in zip(sizes, medians, strict=True)}
    return {n: min(spent for size, spent in each.items() if size <= n) for n in concurrency}


def _median_seconds(actions: Sequence[Callable[[], Tensor]], seconds: float) -> list[float]:
    """Of each action; they take turns, so that a slow moment of the machine hits them alike."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        _wait(action())
    deadline = time.perf_counter() + seconds
    while len(times[-1]) < AT_LEAST or time.perf_counter() < deadline:
        for own, action in zip(times, actions, strict=True):
            since = time.perf_counter()
            _wait(action())
            own.append(time.perf_counter() - since)
    return [statistics.median(own) for own in times]


def _wait(result: Tensor) -> None:
    """A GPU answers before it is done."""
    if result.is_cuda:
        torch.cuda.synchronize()
