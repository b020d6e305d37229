"""SASRec: the collaborative model. It gives E_c (Sec. 4.2.1), the fallback scores, the baseline.

    item rows [B, T] -> item embedding -> dropout
      -> blocks of (LayerNorm -> causal self-attention, LayerNorm -> feed-forward), each added
      -> LayerNorm -> hidden [B, T, D];   score of item i after position t = hidden_t . embedding_i

Attention knows how far back an item lies by a learned bias a distance; `positions` names the
original's way, a learned embedding a place.

Sequences are padded on the right: no position can attend to what comes after it, so padding needs
no mask and batches are as long as their longest sequence.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.early_stopping import train_epochs
from shared.modeling.losses import full_softmax_loss, sampled_bce_loss, sampled_softmax_loss
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.seeding import seeded
from shared.modeling.sequences import ItemRows, Split, require_targets
from shared.modeling.window_batches import WindowBatch

STAGE = "collaborative"
WEIGHTS_FILE = "sasrec.safetensors"
CONFIG_FILE = "sasrec.json"

# The norm of a hidden state starts as this times sqrt(D). With 1 all scores of small embeddings are
# about equal, and the first ten epochs go into making them larger.
STARTING_SCALE = 3.0
# The norm of item embeddings that start from content.
CONTENT_NORM = 0.5

# What the weights' shapes and meaning depend on.
SIZES = ("dimension", "blocks", "heads", "feedforward", "max_length", "positions")

# Up to this many items the full softmax is one cheap product; beyond it "auto" samples.
FULL_SOFTMAX_ITEMS = 20_000


class ItemEmbedding(Protocol):
    """What a SASRec asks of its item embeddings: an nn.Embedding, or a module that computes them.

    weight: [I + 1, D], with gradient; the last row is the padding's, 0.
    """

    @property
    def weight(self) -> Tensor: ...

    def __call__(self, rows: Tensor, /) -> Tensor:
        """rows: [B, T] int64 -> [B, T, D]."""
        ...


class SequenceReader(nn.Module):
    """What reads a sequence of embedded items: SASRec without its items."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.config = config
        if config.positions == "absolute":
            self.position_embedding = nn.Embedding(config.max_length, config.dimension)
            nn.init.normal_(self.position_embedding.weight, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.final_norm = nn.LayerNorm(config.dimension)
        nn.init.constant_(self.final_norm.weight, STARTING_SCALE)

    def forward(self, embedded: Tensor) -> Tensor:
        """[B, T, D], oldest first, padded on the right -> hidden [B, T, D]."""
        hidden = embedded
        if self.config.positions == "absolute":
            places = torch.arange(embedded.shape[1], device=embedded.device)
            hidden = hidden + self.position_embedding(places)
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        normalised: Tensor = self.final_norm(hidden)
        return normalised

    @property
    def device(self) -> torch.device:
        return self.final_norm.weight.device


class SASRec(nn.Module):
    """A trained or untrained SASRec over a catalogue of `number_of_items` items."""

    item_embedding: ItemEmbedding

    def __init__(
        self,
        number_of_items: int,
        config: SASRecConfig,
        item_embedding: ItemEmbedding | None = None,
    ) -> None:
        """item_embedding: a module that gives the items' embeddings; without it they are learned,
        a row an item. `save` and `load` are for a model with learned rows."""
        super().__init__()
        if number_of_items < 1:
            raise InvalidInputError.of("number_of_items", "must be at least 1")
        self.config = config
        self.number_of_items = number_of_items
        self.padding = number_of_items
        self.item_embedding = item_embedding or nn.Embedding(
            number_of_items + 1, config.dimension, padding_idx=self.padding
        )
        self.reader = SequenceReader(config)
        if item_embedding is None:
            nn.init.normal_(self.item_embedding.weight, std=0.02)
            with torch.no_grad():
                self.item_embedding.weight[self.padding].zero_()

    def forward(self, items: Tensor) -> Tensor:
        """items: [B, T] rows, oldest first, padded on the right -> hidden [B, T, D]."""
        hidden: Tensor = self.reader(self.item_embedding(items))
        return hidden

    @property
    def device(self) -> torch.device:
        return self.reader.device

    def output_embeddings(self) -> Tensor:
        """[I, D], with gradient: the item embeddings score the hidden states as well."""
        return self.item_embedding.weight[: self.number_of_items]

    def collaborative_embeddings(self) -> Tensor:
        """E_c: [I, D] float32 on the CPU, a copy without gradient."""
        return self.output_embeddings().detach().to("cpu", torch.float32, copy=True)

    @torch.no_grad()
    def start_from_content(self, content: Mapping[Modality, Tensor]) -> None:
        """Give the items the first D principal directions of their content [I, D_j], all modalities
        of the same weight, turned at random: heads and dimensions start alike.

        Raises InvalidInputError when there is no content, or not of these items.
        """
        weight = self.item_embedding.weight
        start = principal_content(content, self.config.dimension)
        if start.shape[0] != self.number_of_items:
            raise InvalidInputError.of(
                "content", f"is of {len(start)} items, not of {self.number_of_items}"
            )
        turn, _ = torch.linalg.qr(torch.randn(self.config.dimension, self.config.dimension))
        norm = start.norm(dim=1).mean().clamp(min=1e-12)
        weight[: self.number_of_items] = (start @ turn) * (CONTENT_NORM / norm)

    @torch.inference_mode()
    def score(self, histories: Sequence[ItemRows]) -> Tensor:
        """[B, I] scores of the whole catalogue after each history (item rows, oldest first).

        Only the last `max_length` items count. An empty history gets the scores of an empty
        input: finite, and the same for everyone.
        """
        was_training = self.training
        self.eval()
        recent = [history[-self.config.max_length :] for history in histories]
        items, lengths = padded_rows(recent, self.padding, self.device)
        hidden = self(items)
        last = hidden[torch.arange(len(recent), device=hidden.device), (lengths - 1).clamp(min=0)]
        self.train(was_training)
        scores: Tensor = last @ self.output_embeddings().T
        return scores

    def save(self, folder: Path) -> None:
        """Write weights and config into `folder`, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, str(folder / WEIGHTS_FILE))
        document = {"number_of_items": self.number_of_items, "config": asdict(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "SASRec":
        """Read what `save` wrote, ready to score on the CPU."""
        document = json.loads((folder / CONFIG_FILE).read_text())
        # Those saved before there was a choice know places.
        config = SASRecConfig(**{"positions": "absolute", **document["config"]})
        model = cls(document["number_of_items"], config)
        model.load_state_dict(load_file(str(folder / WEIGHTS_FILE)))
        return model.eval()


def train_sasrec(
    split: Split,
    number_of_items: int,
    config: SASRecConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    content: Mapping[Modality, Tensor] | None = None,
    device: str = "cpu",
    stage: str = STAGE,
    warm: SASRec | None = None,
) -> SASRec:
    """Train on the training parts, stop early on validation nDCG@10 (masked), keep the best epoch.

    Every next item of every user is a target. `on_progress` is called after every step and after
    every epoch's validation; `done` counts epochs. The global random state is left as it was.
    content: E_t and E_v [I, D_j], for a config that starts from them; else they are not looked at.
    warm: one of these items to start from instead. It is what is returned where training makes it
    worse by more than `early_stopping.WARM_MARGIN`.

    Raises InvalidInputError when no user has a training pair or a validation target, there is no
    content to start from, or `warm` is of other items or sizes.
    """
    if warm is not None:
        _require_alike(warm, number_of_items, config)

    def build() -> SASRec:
        model = SASRec(number_of_items, config)
        if warm is not None:
            model.load_state_dict(warm.state_dict())
        elif config.start == "content":
            model.start_from_content(content or {})
        return model

    return train_built(
        build,
        split,
        config.seed,
        on_progress,
        stage=stage,
        device=device,
        warm=warm is not None,
    )


def train_built(
    build: Callable[[], SASRec],
    split: Split,
    seed: int,
    on_progress: OnProgress,
    *,
    stage: str,
    device: str = "cpu",
    warm: bool = False,
) -> SASRec:
    """`train_sasrec` for the model that `build` makes, once the random state is that of `seed`.

    stage: the name under which progress is reported. warm: the model is validated as it was made.
    Raises what `train_sasrec` raises.
    """
    require_targets(split)
    with seeded(seed, device):
        model = build().to(device)
        train_epochs(
            model,
            model.score,
            partial(_loss, model),
            split,
            model.config,
            on_progress,
            window=model.config.max_length,
            stage=stage,
            warm=warm,
        )
    return model


def principal_content(content: Mapping[Modality, Tensor], dimension: int) -> Tensor:
    """[I, dimension]: the modalities' centred tables [I, D_j], brought to one scale, side by
    side, on their first principal directions; zeros where they have fewer.

    Raises InvalidInputError when there is no modality, or they are not of the same items.
    """
    if not content:
        raise InvalidInputError.of("content", "has no modality to start from")
    sizes = {len(table) for table in content.values()}
    if len(sizes) > 1:
        raise InvalidInputError.of("content", f"disagrees on the number of items: {sorted(sizes)}")
    centred = [table.float() - table.float().mean(dim=0) for table in content.values()]
    scaled = [table / table.square().sum(dim=1).mean().sqrt().clamp(min=1e-12) for table in centred]
    joined = torch.cat(scaled, dim=1).double()
    _, directions = torch.linalg.eigh(joined.T @ joined)
    principal = joined @ directions.flip(1)[:, :dimension]
    return F.pad(principal, (0, dimension - principal.shape[1])).float()


def _require_alike(warm: SASRec, number_of_items: int, config: SASRecConfig) -> None:
    if warm.number_of_items != number_of_items:
        raise InvalidInputError.of(
            "warm", f"is of {warm.number_of_items} items, not of {number_of_items}"
        )
    for name in SIZES:
        if getattr(warm.config, name) != getattr(config, name):
            raise InvalidInputError.of(name, f"is {getattr(warm.config, name)} in `warm`")


def _loss(model: SASRec, batch: WindowBatch) -> Tensor:
    """The mean over the batch's targets."""
    device = model.device
    valid = batch.valid.to(device)
    hidden = model(batch.context.to(device))[valid]
    targets = batch.targets.to(device)[valid]
    embeddings = model.output_embeddings()
    config = model.config
    full = config.loss == "full" or (
        config.loss == "auto" and model.number_of_items <= FULL_SOFTMAX_ITEMS
    )
    if full:
        return full_softmax_loss(hidden, embeddings, targets)
    positive = (hidden * embeddings[targets]).sum(dim=1)
    if config.loss == "bce":
        drawn = torch.randint(
            model.number_of_items, (len(targets), config.negatives), device=device
        )
        negative = torch.einsum("nd,nkd->nk", hidden, embeddings[drawn])
        return sampled_bce_loss(positive, negative, hits=drawn == targets.unsqueeze(1))
    drawn = torch.randint(model.number_of_items, (config.negatives,), device=device)
    log_expected_count = torch.full_like(
        drawn, config.negatives / model.number_of_items, dtype=hidden.dtype
    ).log()
    return sampled_softmax_loss(
        positive,
        hidden @ embeddings[drawn].T,
        log_expected_count=log_expected_count,
        hits=drawn.unsqueeze(0) == targets.unsqueeze(1),
    )


def padded_rows(
    sequences: Sequence[ItemRows], padding: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[B, T] rows padded on the right to the longest sequence (T >= 1), and the lengths [B]."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    items = np.full((len(sequences), max(1, int(lengths.max()))), padding, dtype=np.int64)
    for row, sequence in zip(items, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(items).to(device), torch.from_numpy(lengths).to(device)


class _Block(nn.Module):
    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.positions = config.positions
        self.attention_dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.dimension)
        self.query_key_value = nn.Linear(config.dimension, 3 * config.dimension)
        self.attention_output = nn.Linear(config.dimension, config.dimension)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(config.dimension),
            nn.Linear(config.dimension, config.feedforward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.dimension),
        )
        self.dropout = nn.Dropout(config.dropout)
        if config.positions == "relative":
            self.distance_bias = nn.Parameter(torch.zeros(config.heads, config.max_length))

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, dimension = hidden.shape
        projected = self.query_key_value(self.attention_norm(hidden))
        query, key, value = projected.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=self._bias(length),
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        merged = attended.transpose(1, 2).reshape(batch, length, dimension)
        hidden = hidden + self.dropout(self.attention_output(merged))
        added: Tensor = hidden + self.dropout(self.feedforward(hidden))
        return added

    def _bias(self, length: int) -> Tensor:
        """[heads or 1, T, T], added to the attention's logits: -inf for what comes later."""
        places = torch.arange(length, device=self.attention_output.weight.device)
        distance = places.unsqueeze(1) - places
        bias = torch.zeros((), device=places.device)
        if self.positions == "relative":
            bias = self.distance_bias[:, distance.clamp(min=0)]
        return bias.masked_fill(distance < 0, -torch.inf)
