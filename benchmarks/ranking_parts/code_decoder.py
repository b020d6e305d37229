"""(c) A generative recommender on the same Llama, the TIGER way: beam search over semantic IDs.

    prompt [T] --prefill, once--> o, keys and values
    o --> 256 codes of level 1 --> 20 beams --> 20 tokens --> level 2 --> ... --> 20 items

Each of the three further steps runs the beams' 20 tokens as one block behind the prompt's keys and
values. A mask lets a beam see the prompt and its own ancestors, so nothing is copied or reordered
when beams change places. Only codes that continue to an existing, unseen item are taken.

It is spared the four tokens an item that TIGER reads a history with: its prompt is ours. Codes are
scored against the 256 of their level, not against the whole vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.trie import Trie
from benchmarks.ranking_parts.waiting_room import Rows
from shared.artifacts.bundle import Bundle
from shared.modeling.modality import Modality
from shared.modeling.ranker import load_item_side

BEAM = 20
TABLE_STD = 0.02


@dataclass(frozen=True)
class _Beams:
    """nodes of the trie, and log probabilities, -inf where fewer beams exist: [B, W].

    parents: places among the beams before. codes: the last code of each.
    """

    nodes: Tensor
    scores: Tensor
    parents: Tensor
    codes: Tensor


class CodeDecoder:
    def __init__(self, backbone: Backbone, trie: Trie, table: Tensor, beam: int) -> None:
        """table: embeddings of the codes, read and written with: [L, S, D]."""
        self._backbone = backbone
        self._trie = trie
        self._table = table.to(backbone.inputs)
        self._beam = beam

    @classmethod
    def open(cls, bundle: Bundle, device: torch.device) -> "CodeDecoder":
        """The semantic IDs are those of the text; the codes' embeddings are random."""
        encoder, _ = load_item_side(bundle.ranker)
        backbone = Backbone.open(bundle, device)
        levels, size, dimension = encoder.code_embeddings[Modality.TEXT].shape
        trie = Trie(encoder.codes(Modality.TEXT).numpy(), size, device)
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(levels, size, dimension, generator=generator) * TABLE_STD
        return cls(backbone, trie, table, BEAM)

    @torch.inference_mode()
    def rank(self, histories: Sequence[Rows]) -> list[Rows]:
        """At most `beam` unseen rows of each history, best first."""
        tokens, lengths = self._backbone.prompts(histories)
        number = len(histories)
        in_prompt = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        cache = DynamicCache(config=self._backbone.decoder.config)
        hidden = self._backbone.decoder(
            inputs_embeds=tokens,
            attention_mask=in_prompt.long(),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        states = hidden[torch.arange(number), lengths - 1].unsqueeze(1)
        beams = _root(number, tokens.device)
        sees = in_prompt.new_zeros(number, 1, 0)  # which earlier tokens of beams are ancestors
        for level in range(self._trie.levels):
            beams = self._step(level, states, beams, histories)
            if level == self._trie.levels - 1:
                break
            width = beams.codes.shape[1]
            itself = torch.eye(width, dtype=torch.bool, device=tokens.device)
            sees = torch.cat(
                [
                    sees.gather(1, beams.parents.unsqueeze(2).expand(-1, -1, sees.shape[2])),
                    itself.expand(number, -1, -1),
                ],
                dim=2,
            )
            mask = torch.cat([in_prompt.unsqueeze(1).expand(-1, width, -1), sees], dim=2)
            states = self._backbone.decoder(
                inputs_embeds=self._table[level][beams.codes],
                attention_mask=mask.unsqueeze(1),
                position_ids=(lengths + level).unsqueeze(1).expand(-1, width),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        return self._items(beams, histories)

    def _step(self, level: int, states: Tensor, beams: _Beams, seen: Sequence[Rows]) -> _Beams:
        """The best continuations by one code, given the states [B, W, D] of the beams.

        seen: the histories; codes that only items in them continue are not taken.
        """
        number, size = len(states), self._trie.size
        children = self._trie.children(level, beams.nodes.flatten()).view(number, -1)
        steps = torch.log_softmax((states @ self._table[level].T).float(), dim=2)
        scores = (beams.scores.unsqueeze(2) + steps).flatten(1)
        scores = scores.masked_fill(children < 0, -torch.inf)
        for own, nodes, history in zip(scores, children, seen, strict=True):
            used = self._trie.used_up(level, history)
            if len(used):
                own[torch.isin(nodes, torch.from_numpy(used).to(nodes.device))] = -torch.inf
        best, places = scores.topk(min(self._beam, scores.shape[1]), dim=1)
        return _Beams(
            nodes=children.gather(1, places).clamp(min=0),
            scores=best,
            parents=places // size,
            codes=places % size,
        )

    def _items(self, beams: _Beams, histories: Sequence[Rows]) -> list[Rows]:
        found = []
        leaves, exists = beams.nodes.tolist(), (beams.scores > -torch.inf).tolist()
        for own, real, history in zip(leaves, exists, histories, strict=True):
            seen = set(history.tolist())
            rows = [
                row
                for leaf, is_real in zip(own, real, strict=True)
                if is_real
                for row in self._trie.rows(leaf).tolist()
                if row not in seen
            ]
            found.append(torch.tensor(rows[: self._beam], dtype=torch.int64).numpy())
        return found


def _root(number: int, device: torch.device) -> _Beams:
    zeros = torch.zeros(number, 1, dtype=torch.int64, device=device)
    return _Beams(zeros, torch.zeros(number, 1, device=device), zeros, zeros)
