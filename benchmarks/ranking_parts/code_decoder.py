"""(c) A generative recommender on the same Llama, the TIGER way: beam search over semantic IDs.

    prompt [T] --prefill, once--> o, keys and values
    o --> 256 codes of level 1 --> 20 beams --> 20 tokens --> level 2 --> ... --> 20 items

Each of the three further steps runs the beams' 20 tokens as one block behind the prompt's keys and
values (`experiments.methods.beams`). Only codes that continue to an existing, unseen item are
taken.

It is spared the four tokens an item that TIGER reads a history with: its prompt is ours. Codes are
scored against the 256 of their level, not against the whole vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.waiting_room import Rows
from experiments.methods.beams import Beams, ancestry, continued, first_beams
from experiments.methods.trie import Trie
from shared.artifacts.bundle import Bundle
from shared.modeling.modality import Modality
from shared.modeling.ranker import load_item_side

BEAM = 20
TABLE_STD = 0.02


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
        beams = first_beams(number, tokens.device)
        sees = in_prompt.new_zeros(number, 1, 0)  # which earlier tokens of beams are ancestors
        for level in range(self._trie.levels):
            beams = self._step(level, states, beams, histories)
            if level == self._trie.levels - 1:
                break
            width = beams.codes.shape[1]
            sees = ancestry(sees, beams)
            mask = torch.cat([in_prompt.unsqueeze(1).expand(-1, width, -1), sees], dim=2)
            states = self._backbone.decoder(
                inputs_embeds=self._table[level][beams.codes],
                attention_mask=mask.unsqueeze(1),
                position_ids=(lengths + level).unsqueeze(1).expand(-1, width),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        return self._items(beams, histories)

    def _step(self, level: int, states: Tensor, beams: Beams, seen: Sequence[Rows]) -> Beams:
        """The best continuations by one code, given the states [B, W, D] of the beams.

        seen: the histories; codes that only items in them continue are not taken.
        """
        children = self._trie.children(level, beams.nodes.flatten()).view(len(states), -1)
        for nodes, history in zip(children, seen, strict=True):
            used = self._trie.used_up(level, history)
            if len(used):
                nodes[torch.isin(nodes, torch.from_numpy(used).to(nodes.device))] = -1
        steps = torch.log_softmax((states @ self._table[level].T).float(), dim=2)
        return continued(beams, steps, children, self._beam)

    def _items(self, beams: Beams, histories: Sequence[Rows]) -> list[Rows]:
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
