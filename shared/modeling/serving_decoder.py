"""o_LLM of many histories at once, by a Llama decoder whose weights no longer change (Sec. 4.3).

The hidden states of `Ranker.hidden_states`, with what serving can spare left out:

    instruction     its keys and values are the same in every prompt: computed once
    padding         the tokens of all prompts lie end to end, [T, D]; only attention sees a square
    last layer      one token a prompt is wanted: of the others just keys and values are computed
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import rotate_half

from shared.modeling.end_to_end import EndToEnd
from shared.modeling.prompt import PromptTemplate


class ServingDecoder:
    """A decoder and the prompt it is asked with."""

    def __init__(self, decoder: Any, prompt: PromptTemplate) -> None:
        """decoder: a LlamaModel in eval mode, of any dtype, on any device.

        prompt: with at least one token before the items.
        """
        self._decoder = decoder
        self._prompt = prompt
        with torch.no_grad():
            prefix, self._suffix = (
                decoder.embed_tokens(torch.tensor(tokens, dtype=torch.int64, device=self.device))
                for tokens in (prompt.prefix, prompt.suffix)
            )
            known = DynamicCache(config=decoder.config)
            decoder(inputs_embeds=prefix[None], past_key_values=known, use_cache=True)
        self._skipped = len(prefix)
        # [1, heads, P, d] of each layer.
        self._known = [(layer.keys, layer.values) for layer in known.layers]

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self._decoder.embed_tokens.weight.device)

    @torch.inference_mode()
    def states(self, histories: Sequence[NDArray[np.int64]], table: Tensor) -> Tensor:
        """o_LLM [B, D] of histories of item rows, oldest first (the last `max_history` count).

        table: input embeddings of the items, [I, D] (Eq. 16), on the decoder's device.
        """
        recent = [self._prompt.recent(history) for history in histories]
        layout = EndToEnd([len(rows) + len(self._suffix) for rows in recent], self.device)
        tokens = self._tokens(recent, table)
        cosine, sine = self._decoder.rotary_emb(tokens, (self._skipped + layout.positions)[None])
        angles = cosine[0][:, None], sine[0][:, None]
        seen = self._seen(layout)
        layers = len(self._decoder.layers)
        for number in range(layers - 1):
            tokens = self._layer(number, tokens, angles, seen, layout)
        ends = self._last_layer(layers - 1, tokens, angles, seen, layout)
        return cast(Tensor, self._decoder.norm(ends).to(table.dtype))

    def _tokens(self, recent: Sequence[NDArray[np.int64]], table: Tensor) -> Tensor:
        """[T, D]: items, suffix, items, suffix, ..."""
        rows = torch.from_numpy(np.concatenate(recent)).to(table.device)
        items = table[rows].to(self._suffix.dtype).split_with_sizes([len(own) for own in recent])
        return torch.cat([part for own in items for part in (own, self._suffix)])

    def _seen(self, layout: EndToEnd) -> Tensor:
        """[L, P + L] bool: each token sees the instruction, and its prompt up to itself.

        What is on the right of a prompt comes later, and so needs no mask of its own.
        """
        shape = layout.longest, self._skipped + layout.longest
        return torch.ones(shape, dtype=torch.bool, device=self.device).tril(self._skipped)

    def _layer(
        self,
        number: int,
        tokens: Tensor,
        angles: tuple[Tensor, Tensor],
        seen: Tensor,
        layout: EndToEnd,
    ) -> Tensor:
        """[T, D] -> [T, D]."""
        layer = self._decoder.layers[number]
        normed = layer.input_layernorm(tokens)
        queries = _turned(_heads(layer.self_attn.q_proj(normed), layer), angles)
        keys, values = self._keys_and_values(number, normed, angles, layout)
        found = _attention(layer, layout.squared(queries), keys, values, seen)
        return _after_attention(layer, tokens, layout.unsquared(found))

    def _last_layer(
        self,
        number: int,
        tokens: Tensor,
        angles: tuple[Tensor, Tensor],
        seen: Tensor,
        layout: EndToEnd,
    ) -> Tensor:
        """[T, D] -> [B, D]: each prompt's last token."""
        layer = self._decoder.layers[number]
        normed = layer.input_layernorm(tokens)
        ends = layout.ends
        own_angles = angles[0][ends], angles[1][ends]
        queries = _turned(_heads(layer.self_attn.q_proj(normed[ends]), layer), own_angles)
        keys, values = self._keys_and_values(number, normed, angles, layout)
        own_seen = seen[layout.positions[ends]][:, None, None]
        found = _attention(layer, queries[:, None], keys, values, own_seen)
        return _after_attention(layer, tokens[ends], found[:, 0])

    def _keys_and_values(
        self, number: int, normed: Tensor, angles: tuple[Tensor, Tensor], layout: EndToEnd
    ) -> tuple[Tensor, Tensor]:
        """[B, heads, P + L, d] each: the instruction's, then the prompt's own."""
        layer = self._decoder.layers[number]
        keys = _turned(_heads(layer.self_attn.k_proj(normed), layer), angles)
        values = _heads(layer.self_attn.v_proj(normed), layer)
        known_keys, known_values = (
            known.expand(layout.number, -1, -1, -1) for known in self._known[number]
        )
        return (
            torch.cat([known_keys, layout.squared(keys).transpose(1, 2)], dim=2),
            torch.cat([known_values, layout.squared(values).transpose(1, 2)], dim=2),
        )


def _heads(projected: Tensor, layer: Any) -> Tensor:
    """[n, heads d] -> [n, heads, d]."""
    return projected.view(len(projected), -1, layer.self_attn.head_dim)


def _turned(heads: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of [n, heads, d]; angles: cosine and sine, [n, 1, d] each."""
    cosine, sine = angles
    return heads * cosine + cast(Tensor, rotate_half(heads)) * sine


def _attention(layer: Any, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """queries [B, n, heads, d] -> [B, n, heads, d]."""
    queries = queries.transpose(1, 2)
    found = functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=seen,
        scale=layer.self_attn.scaling,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    return found.transpose(1, 2)


def _after_attention(layer: Any, tokens: Tensor, found: Tensor) -> Tensor:
    """What a layer adds to its tokens [n, D] once they have attended; found: [n, heads, d]."""
    tokens = tokens + layer.self_attn.o_proj(found.flatten(1))
    return cast(Tensor, tokens + layer.mlp(layer.post_attention_layernorm(tokens)))
