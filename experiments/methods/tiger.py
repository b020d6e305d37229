"""TIGER (arXiv:2305.05065): the semantic ID of the next item is generated, code by code.

    history i_1 .. i_n -> BEGIN, the P codes of each item                      [B, 1 + n P]
      T5 encoder                                                            [B, 1 + n P, D]
      T5 decoder, by cross-attention: BEGIN -> code 1 -> code 2 -> ... -> code P of the next item
    score of an item = log probability of its codes, found by beam search over the IDs that exist

A code is a token of its own at every level of every modality, and is scored against those of its
level. In the encoder an item sees itself and the items before it, not those after it. The states
of a prefix are then the same whatever follows, and one pass over a sequence trains every prefix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, T5Config, T5Model

from experiments.methods.beams import Beams, ancestry, continued, first_beams
from experiments.methods.trie import Trie
from experiments.methods.unique_ids import unique_ids
from shared.errors import InvalidInputError
from shared.modeling.config_checks import require_at_least_one
from shared.modeling.early_stopping import train_epochs
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.seeding import seeded
from shared.modeling.sequences import ItemRows, Split, require_targets
from shared.modeling.window_batches import WindowBatch

STAGE = "tiger"
BEGIN = 0  # the token at the beginning of every history and of every item that is generated


@dataclass(frozen=True)
class TigerConfig:
    """dimension, layers, heads, feedforward: of the T5; as many layers decode as encode. Not yet
    tuned on validation: small, so that a CPU trains them.

    dropout: of the embeddings of the codes that are read. (Within the layers, where T5 has it as
    well, drawing what to drop would take a CPU as long as all the rest.)
    max_items: how many items of a history, the last ones, are read.
    beam: how many items are found. They should outnumber the longest cutoff, 20, by the items of
    a history, since those may be among them and do not count where the history is masked.
    patience: validations without a better nDCG@10 before training stops.
    validation_users: at most this many, drawn by the seed, are ranked after each epoch.
    """

    dimension: int = 64
    layers: int = 2
    heads: int = 2
    feedforward: int = 256
    dropout: float = 0.1
    max_items: int = 20
    beam: int = 50
    epochs: int = 100
    patience: int = 5
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 64
    validation_users: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least_one(
            self,
            "dimension", "layers", "heads", "feedforward", "max_items", "beam", "epochs",
            "patience", "batch_size", "validation_users",
        )  # fmt: skip
        if self.dimension % self.heads:
            raise InvalidInputError.of("heads", f"must divide the dimension {self.dimension}")
        if not 0 <= self.dropout < 1:
            raise InvalidInputError.of("dropout", f"must be in [0, 1), not {self.dropout}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise InvalidInputError.of("learning_rate", "must be above 0, weight_decay at least 0")


class Tiger(nn.Module):
    """A T5 over the codes of a catalogue."""

    tokens: Tensor

    def __init__(self, ids: Tensor, config: TigerConfig, device: str = "cpu") -> None:
        """ids: [I, P], the codes of each item, no two alike (`unique_ids`)."""
        super().__init__()
        self.config = config
        self.number_of_items, self.levels = ids.shape
        self.size = int(ids.max()) + 1  # S: codes a level
        self.trie = Trie(ids.numpy(), self.size, torch.device(device))
        self.register_buffer("tokens", 1 + torch.arange(self.levels) * self.size + ids)
        self.t5 = T5Model(
            T5Config(
                vocab_size=1 + self.levels * self.size,
                d_model=config.dimension,
                d_kv=config.dimension // config.heads,
                d_ff=config.feedforward,
                num_layers=config.layers,
                num_heads=config.heads,
                dropout_rate=0.0,
            )
        )
        # Decoded tokens run as blocks in which a place means nothing: the targets of all prefixes,
        # or the beams of a history. Which level a code is of, its token says.
        places = self.t5.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        nn.init.zeros_(places)
        places.requires_grad_(False)
        self.to(device)

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    def forward(self, batch: WindowBatch) -> Tensor:
        """The logits [N, P, S] of the codes of the N valid targets, each after the codes before."""
        number, length = batch.targets.shape
        targets = self.tokens[batch.targets.to(self.device)]
        begin = targets.new_full((number, length, 1), BEGIN)
        before = torch.cat([begin, targets[..., :-1]], dim=2).flatten(1)
        target = torch.arange(length, device=self.device).repeat_interleave(self.levels)
        own = (target.unsqueeze(1) == target).tril()
        earlier = self._item_of_token(length) <= target.unsqueeze(1) + 1
        states = self.t5.decoder(
            inputs_embeds=self._read(before),
            attention_mask=own[None, None],
            encoder_hidden_states=self.encode(batch.context.to(self.device)),
            encoder_attention_mask=earlier[None, None],
            use_cache=False,
        ).last_hidden_state
        states = states.view(number, length, self.levels, -1)[batch.valid.to(self.device)]
        return torch.einsum("npd,psd->nps", states, self._code_table())

    def encode(self, rows: Tensor) -> Tensor:
        """Item rows [B, n], padded on the right -> states [B, 1 + n P, D] of BEGIN and the codes.

        No item sees what comes after it, so padding needs no mask here.
        """
        item = self._item_of_token(rows.shape[1])
        seen = item <= item.unsqueeze(1)
        tokens = F.pad(self.tokens[rows].flatten(1), (1, 0), value=BEGIN)
        encoded: Tensor = self.t5.encoder(
            inputs_embeds=self._read(tokens), attention_mask=seen[None, None]
        ).last_hidden_state
        return encoded

    @torch.inference_mode()
    def score(self, histories: Sequence[ItemRows]) -> Tensor:
        """[B, I]: the log probabilities of the items that the beam search finds after each history
        (item rows, oldest first, or none), and -inf for all others.

        With a beam as wide as the catalogue it finds every item. The items that it does not find
        share the places behind those found; of a large catalogue, those are beyond any cutoff.
        """
        was_training = self.training
        self.eval()
        recent = [torch.from_numpy(history[-self.config.max_items :]) for history in histories]
        rows = nn.utils.rnn.pad_sequence(recent, batch_first=True).to(self.device)
        lengths = torch.tensor([len(history) for history in recent], device=self.device)
        in_history = self._item_of_token(rows.shape[1]) <= lengths.unsqueeze(1)
        beams = self._search(self.encode(rows), in_history)
        self.train(was_training)
        found = beams.scores > -torch.inf
        scores = torch.full((len(recent), self.number_of_items), -torch.inf, device=self.device)
        owner = found.nonzero()[:, 0]
        scores[owner, self.trie.first_rows(beams.nodes[found])] = beams.scores[found]
        return scores

    def _search(self, encoded: Tensor, in_history: Tensor) -> Beams:
        """The best leaves of the trie after each history. in_history: [B, 1 + n P] bool."""
        number = len(encoded)
        beams = first_beams(number, encoded.device)
        tokens = torch.full_like(beams.codes, BEGIN)
        sees = torch.ones(number, 1, 1, dtype=torch.bool, device=encoded.device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        table = self._code_table()
        for level in range(self.levels):
            states = self.t5.decoder(
                inputs_embeds=self._read(tokens),
                attention_mask=sees.unsqueeze(1),
                encoder_hidden_states=encoded,
                encoder_attention_mask=in_history[:, None, None],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            steps = torch.log_softmax(states @ table[level].T, dim=2)
            children = self.trie.children(level, beams.nodes.flatten()).view(number, -1)
            beams = continued(beams, steps, children, self.config.beam)
            tokens = 1 + level * self.size + beams.codes
            sees = ancestry(sees, beams)
        return beams

    def _read(self, tokens: Tensor) -> Tensor:
        return F.dropout(self.t5.shared(tokens), self.config.dropout, self.training)

    def _code_table(self) -> Tensor:
        """[P, S, D]: a code is written with the embedding that it is read with, scaled as in T5."""
        table: Tensor = self.t5.shared.weight[1:] * self.config.dimension**-0.5
        return table.view(self.levels, self.size, -1)

    def _item_of_token(self, length: int) -> Tensor:
        """[1 + n P]: 0 for BEGIN, then the number of each code's item, from 1 on."""
        items = torch.arange(1, length + 1, device=self.device).repeat_interleave(self.levels)
        return F.pad(items, (1, 0))


def train_tiger(
    split: Split,
    codes: Mapping[Modality, Tensor],
    config: TigerConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> Tiger:
    """Train on the training parts, stop early on validation nDCG@10 (masked), keep the best epoch.

    codes: [I, L] int64, the semantic IDs of each modality; L may differ.
    `on_progress` is called after every step and after every epoch's validation; `done` counts
    epochs. The global random state is left as it was.

    Raises InvalidInputError when the codes do not fit together, or when no user has a training
    pair or a validation target.
    """
    ids = unique_ids(codes)
    require_targets(split)
    with seeded(config.seed, device):
        model = Tiger(ids, config, device)
        train_epochs(
            model,
            model.score,
            partial(_loss, model),
            split,
            config,
            on_progress,
            window=config.max_items,
            stage=STAGE,
        )
    return model


def _loss(model: Tiger, batch: WindowBatch) -> Tensor:
    """The mean over the codes of the batch's targets."""
    tokens = model.tokens[batch.targets[batch.valid].to(model.device)]
    codes = tokens - torch.arange(model.levels, device=model.device) * model.size - 1
    return F.cross_entropy(model(batch).flatten(0, 1), codes.flatten())
