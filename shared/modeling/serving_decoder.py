"""o_LLM of many histories at once, by a Llama decoder whose weights no longer change (Sec. 4.3).

The hidden states of `Ranker.hidden_states`, with what serving can spare left out:

    instruction     its keys and values are the same in every prompt: computed once
    history         those of a user who comes back with more items are kept: only the new ones count
    padding         the tokens of all prompts lie end to end, [T, D]; only attention sees a square
    last layer      one token a prompt is wanted: of the others just keys and values are computed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import rotate_half

from shared.modeling.end_to_end import EndToEnd
from shared.modeling.history_cache import HistoryCache
from shared.modeling.prompt import PromptTemplate


@dataclass
class _Batch:
    """One call. A prompt is the instruction, known items, fresh items and the suffix.

    layout: of the fresh tokens, T in all, at most L in a prompt. known: keys and values of known
    items, [2 x layers, B, K, heads, d]. seen: what each fresh token sees of P + K + L places,
    [L, P + K + L], or [B, 1, L, P + K + L] where prompts differ. angles: cosine and sine of rotary
    positions, [T, 1, d]. computed: keys, then values, [T, heads, d], of each layer so far.
    """

    layout: EndToEnd
    known: Tensor
    seen: Tensor
    angles: tuple[Tensor, Tensor]
    computed: list[Tensor]


class ServingDecoder:
    """A decoder and the prompt it is asked with. Used by one thread at a time."""

    def __init__(self, decoder: Any, prompt: PromptTemplate, *, cache_bytes: int = 0) -> None:
        """decoder: a LlamaModel in eval mode, of any dtype, on any device.

        prompt: with at least one token before the items. cache_bytes: for histories.
        """
        self._decoder = decoder
        self._prompt = prompt
        self._histories = HistoryCache(cache_bytes)
        with torch.no_grad():
            prefix, self._suffix = (
                decoder.embed_tokens(torch.tensor(tokens, dtype=torch.int64, device=self.device))
                for tokens in (prompt.prefix, prompt.suffix)
            )
            known = DynamicCache(config=decoder.config)
            decoder(inputs_embeds=prefix[None], past_key_values=known, use_cache=True)
        self._skipped = len(prefix)
        # [1, heads, P, d] of each layer.
        self._instruction = [(layer.keys, layer.values) for layer in known.layers]

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self._decoder.embed_tokens.weight.device)

    def forget_histories(self) -> None:
        """To be called when an item has another input embedding than before."""
        self._histories.clear()

    @torch.inference_mode()
    def states(self, histories: Sequence[NDArray[np.int64]], table: Tensor) -> Tensor:
        """o_LLM [B, D] of histories of item rows, oldest first (the last `max_history` count).

        table: input embeddings of the items, [I, D] (Eq. 16), on the decoder's device.
        """
        recent = [self._prompt.recent(history) for history in histories]
        known = [self._histories.take(rows) for rows in recent]
        counts = [0 if own is None else own.shape[1] for own in known]
        fresh = [rows[count:] for rows, count in zip(recent, counts, strict=True)]
        tokens = self._tokens(fresh, table)
        batch = self._batch(tokens, fresh, known, counts)
        for number in range(len(self._decoder.layers) - 1):
            tokens = self._layer(number, tokens, batch)
        ends = self._last_layer(tokens, batch)
        self._keep(recent, fresh, known, batch)
        return cast(Tensor, self._decoder.norm(ends).to(table.dtype))

    def _tokens(self, fresh: Sequence[NDArray[np.int64]], table: Tensor) -> Tensor:
        """[T, D]: items, suffix, items, suffix, ..."""
        rows = torch.from_numpy(np.concatenate(fresh)).to(table.device)
        items = table[rows].to(self._suffix.dtype).split_with_sizes([len(own) for own in fresh])
        return torch.cat([part for own in items for part in (own, self._suffix)])

    def _batch(
        self,
        tokens: Tensor,
        fresh: Sequence[NDArray[np.int64]],
        known: Sequence[Tensor | None],
        counts: Sequence[int],
    ) -> _Batch:
        layout = EndToEnd([len(rows) + len(self._suffix) for rows in fresh], self.device)
        before = torch.tensor(counts, device=self.device)
        positions = self._skipped + layout.each(before) + layout.positions
        cosine, sine = self._decoder.rotary_emb(tokens, positions[None])
        return _Batch(
            layout,
            self._square(known, counts),
            self._seen(layout, before, max(counts)),
            (cosine[0][:, None], sine[0][:, None]),
            [],
        )

    def _square(self, known: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor:
        """[2 x layers, B, K, heads, d], zeros on the right."""
        keys, _ = self._instruction[0]
        _, heads, _, width = keys.shape
        shape = 2 * len(self._instruction), len(known), max(counts), heads, width
        square = torch.zeros(shape, dtype=keys.dtype, device=keys.device)
        for place, (own, count) in enumerate(zip(known, counts, strict=True)):
            if own is not None:
                square[:, place, :count] = own
        return square

    def _seen(self, layout: EndToEnd, before: Tensor, most: int) -> Tensor:
        """Each fresh token sees the instruction, what is known, and its prompt up to itself.

        What is on the right of a prompt's fresh tokens comes later, and so needs no mask.
        """
        length = layout.longest
        every = torch.ones(length, self._skipped + length, dtype=torch.bool, device=self.device)
        causal = every.tril(self._skipped)
        if not most:
            return causal
        instruction, own = causal.split_with_sizes([self._skipped, length], dim=1)
        is_known = torch.arange(most, device=self.device) < before[:, None]
        parts = instruction, is_known[:, None].expand(-1, length, -1), own
        shape = layout.number, length, -1
        return torch.cat([part.expand(shape) for part in parts], dim=2)[:, None]

    def _layer(self, number: int, tokens: Tensor, batch: _Batch) -> Tensor:
        """[T, D] -> [T, D]."""
        layer, layout = self._decoder.layers[number], batch.layout
        normed = layer.input_layernorm(tokens)
        queries = _turned(_heads(layer.self_attn.q_proj(normed), layer), batch.angles)
        keys, values = self._keys_and_values(number, normed, batch)
        found = _attention(layer, layout.squared(queries), keys, values, batch.seen)
        return _after_attention(layer, tokens, layout.unsquared(found))

    def _last_layer(self, tokens: Tensor, batch: _Batch) -> Tensor:
        """[T, D] -> [B, D]: each prompt's last token."""
        number = len(self._decoder.layers) - 1
        layer, ends = self._decoder.layers[number], batch.layout.ends
        normed = layer.input_layernorm(tokens)
        cosine, sine = batch.angles
        queries = _heads(layer.self_attn.q_proj(normed[ends]), layer)
        queries = _turned(queries, (cosine[ends], sine[ends]))
        keys, values = self._keys_and_values(number, normed, batch)
        places = batch.layout.positions[ends]
        if batch.seen.dim() == 2:
            seen = batch.seen[places][:, None, None]
        else:
            seen = batch.seen[torch.arange(len(places), device=self.device), :, places][:, None]
        found = _attention(layer, queries[:, None], keys, values, seen)
        return _after_attention(layer, tokens[ends], found[:, 0])

    def _keys_and_values(self, number: int, normed: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
        """[B, heads, P + K + L, d] each."""
        layer, layout = self._decoder.layers[number], batch.layout
        keys = _turned(_heads(layer.self_attn.k_proj(normed), layer), batch.angles)
        values = _heads(layer.self_attn.v_proj(normed), layer)
        batch.computed += keys, values
        whole = (
            torch.cat(
                [
                    instruction.expand(layout.number, -1, -1, -1),
                    known.transpose(1, 2),
                    layout.squared(own).transpose(1, 2),
                ],
                dim=2,
            )
            for instruction, known, own in zip(
                self._instruction[number],
                batch.known[2 * number : 2 * number + 2],
                (keys, values),
                strict=True,
            )
        )
        return next(whole), next(whole)

    def _keep(
        self,
        recent: Sequence[NDArray[np.int64]],
        fresh: Sequence[NDArray[np.int64]],
        known: Sequence[Tensor | None],
        batch: _Batch,
    ) -> None:
        """What was computed of the items of each history, for the next time."""
        if not self._histories.limit_bytes:
            return
        computed = torch.stack(batch.computed)
        lengths = [part for rows in fresh for part in (len(rows), len(self._suffix))]
        items = computed.split_with_sizes(lengths, dim=1)[::2]
        for rows, before, own in zip(recent, known, items, strict=True):
            whole = own.clone() if before is None else torch.cat([before, own], dim=1)
            self._histories.put(rows, whole)


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
