"""The LLM of a bundle as every peer runs it: merged, on transformers, from input embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.artifacts.bundle import Bundle
from shared.modeling.ranker import load_for_serving


@dataclass(frozen=True)
class Backbone:
    """decoder: the merged Llama without language-model head. prefix: [P, D] and suffix: [R, D],
    token embeddings of the prompt. inputs: Eq. 16, [I, D] on the decoder's device and dtype."""

    decoder: Any
    prefix: Tensor
    suffix: Tensor
    inputs: Tensor
    max_history: int

    @classmethod
    @torch.inference_mode()
    def open(cls, bundle: Bundle, device: torch.device) -> "Backbone":
        ranker = load_for_serving(bundle.ranker)
        decoder = ranker.decoder.to(device)
        embed = decoder.embed_tokens
        prefix = embed(torch.tensor(ranker.prompt.prefix, device=device))
        suffix = embed(torch.tensor(ranker.prompt.suffix, device=device))
        inputs = torch.tensor(bundle.catalogue.input_table, dtype=prefix.dtype, device=device)
        return cls(decoder, prefix, suffix, inputs, ranker.prompt.max_history)

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def prompts(self, histories: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        """Token embeddings [B, T, D], padded on the right, and their lengths [B]."""
        recent = [torch.from_numpy(own[-self.max_history :]) for own in histories]
        prompts = [
            torch.cat([self.prefix, self.inputs[rows.to(self.device)], self.suffix])
            for rows in recent
        ]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        return torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True), lengths
