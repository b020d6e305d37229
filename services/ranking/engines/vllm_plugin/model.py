"""The ranker as a vLLM model: a Llama that reads items from a table, and the fusion head.

vLLM's configuration says where the bundle lies (`mmesid_bundle`) and how it is served
(`mmesid_settings`). Everything is read from its files inside vLLM's process: the LLM's weights, the
adapter that is merged into them, the items' tables.
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces_base import VllmModelForPooling
from vllm.model_executor.models.llama import LlamaModel
from vllm.model_executor.models.utils import AutoWeightsLoader, maybe_prefix

from services.ranking.engines.vllm_plugin.adapter import Adapter
from services.ranking.engines.vllm_plugin.pooler import BestItems
from services.ranking.scoring.scorer import CatalogueScorer
from shared.artifacts.bundle import Bundle
from shared.modeling.ranker import load_prompt
from shared.settings import RankingSettings

MAX_ROWS = 2**30
"""Token ids kept for items: more rows than any catalogue, and ids still fit into int32."""


class ItemLlama(LlamaModel):
    """A Llama decoder whose token `vocabulary_size + row` is the item of that row."""

    def __init__(
        self,
        *,
        vllm_config: VllmConfig,
        prefix: str,
        vocabulary_size: int,
        scorer: CatalogueScorer,
    ) -> None:
        # vLLM accepts the ids of items because its vocabulary is said to hold them; the table of
        # token embeddings is that of the words alone.
        config = copy.deepcopy(vllm_config.model_config.hf_config)
        config.vocab_size = vocabulary_size
        super().__init__(
            vllm_config=vllm_config.with_hf_config(config, architectures=["LlamaForCausalLM"]),
            prefix=prefix,
        )
        self._vocabulary_size = vocabulary_size
        self._scorer = scorer

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[tokens] -> [tokens, D]."""
        is_item = input_ids >= self._vocabulary_size
        words = super().embed_input_ids(input_ids.masked_fill(is_item, 0))
        items = self._scorer.inputs
        rows = (input_ids - self._vocabulary_size).clamp(0, len(items) - 1)
        return torch.where(is_item.unsqueeze(1), items[rows].to(words.dtype), words)


class RankerForPooling(nn.Module, VllmModelForPooling[Tensor]):
    """History in, best items out (`BestItems`)."""

    is_pooling_model = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: Any = vllm_config.model_config.hf_config
        bundle = Bundle(Path(config.mmesid_bundle))
        settings = RankingSettings.model_validate_json(config.mmesid_settings)
        self.scorer = CatalogueScorer.open(
            bundle,
            torch.device(vllm_config.device_config.device),
            settings.catalogue,
            settings.candidates,
        )
        self.model = ItemLlama(
            vllm_config=vllm_config,
            prefix=maybe_prefix(prefix, "model"),
            vocabulary_size=load_prompt(bundle.ranker).vocabulary_size,
            scorer=self.scorer,
        )
        self.pooler = BestItems(self.scorer)
        self._adapter = bundle.ranker

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        return self.model.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        states: Tensor = self.model(input_ids, positions, intermediate_tensors, inputs_embeds)
        return states

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base checkpoint's, with the bundle's adapter merged into them."""
        of_decoder = (named for named in weights if not named[0].startswith("lm_head."))
        merged = Adapter.read(self._adapter).merge(of_decoder)
        loaded: set[str] = AutoWeightsLoader(self).load_weights(merged)
        return loaded
