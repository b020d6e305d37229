"""MOTOR (Table 3): items are what their text and visual codes say, no item has a row of its own.

    SID_t, SID_v [I, L] -> tokens: their code embeddings, trained            [I, P, D_code]
      sum of the tokens                                           -> LayerNorm --.
      sum over pairs a < b of w_ab (token_a * token_b)            -> LayerNorm --|-- MLP -> [I, D]
    a SASRec reads the history as these embeddings, and scores with the same ones

P tokens, one a level of each modality. The pairs are those within a modality and across them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.item_encoder import random_code_embeddings
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.sasrec import SASRec, train_built
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import ItemRows, Split

STAGE = "motor"


@dataclass(frozen=True)
class MotorConfig(SASRecConfig):
    """That of the SASRec, `dimension` being the items', and of the token cross network.

    hidden: the width of the MLP that ends it.
    pretrained: code embeddings start from the quantizer's, else from random ones of their scale.
    """

    # The catalogue is the softmax's, however many items there are.
    loss: Literal["auto", "full", "sampled", "bce"] = "full"
    hidden: int = 256
    pretrained: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise InvalidInputError.of("hidden", f"must be at least 1, not {self.hidden}")


class TokenCrossNetwork(nn.Module):
    """The embeddings of items, out of their codes. Trained: code embeddings, w_ab, norms and MLP.

    It stands where a SASRec has its table of items.
    """

    def __init__(
        self,
        codes: Mapping[Modality, Tensor],
        code_embeddings: Mapping[Modality, Tensor],
        config: MotorConfig,
    ) -> None:
        """codes: [I, L] int64. code_embeddings: [L, S, D_code], of the same modalities.

        L and S may differ from modality to modality. Raises InvalidInputError when the modalities
        or shapes do not agree, or a code is unknown.
        """
        super().__init__()
        _check(codes, code_embeddings)
        self.modalities = tuple(modality for modality in Modality if modality in codes)
        self.number_of_items = len(codes[self.modalities[0]])
        # The codes of all modalities and levels as rows of one table: a single look-up an item.
        rows, first = [], 0
        for modality in self.modalities:
            levels, size, _ = code_embeddings[modality].shape
            rows.append(codes[modality] + first + torch.arange(levels) * size)
            first += levels * size
        self.tokens: Tensor
        self.register_buffer("tokens", torch.cat(rows, dim=1))
        self.code_embeddings = nn.Parameter(
            torch.cat([code_embeddings[j].detach().float().flatten(0, 1) for j in self.modalities])
        )
        count, dimension = self.tokens.shape[1], self.code_embeddings.shape[1]
        # w_ab at [a, b]; what is not above the diagonal is never read.
        self.pair_weights = nn.Parameter(torch.ones(count, count).triu(diagonal=1))
        self.sum_norm = nn.LayerNorm(dimension)
        # Products of small code embeddings vary by less than the usual epsilon.
        self.cross_norm = nn.LayerNorm(dimension, eps=1e-12)
        self.widen = nn.Linear(2 * dimension, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.dimension)
        # Small scores to begin with, as those of a table of items would be.
        nn.init.normal_(self.narrow.weight, std=0.02)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """rows: any shape, int64, I being the padding -> [..., D], zeros where it pads."""
        items: Tensor = self.combine(self.tokens[rows.clamp(max=self.number_of_items - 1)])
        return items * (rows < self.number_of_items).unsqueeze(-1)

    def combine(self, tokens: Tensor) -> Tensor:
        """Rows [..., P] of the code embeddings -> [..., D]."""
        embedded = F.embedding(tokens, self.code_embeddings)
        parts = [self.sum_norm(embedded.sum(dim=-2)), self.cross_norm(self.cross(embedded))]
        combined: Tensor = self.narrow(F.gelu(self.widen(torch.cat(parts, dim=-1))))
        return combined

    def cross(self, embedded: Tensor) -> Tensor:
        """The sum over a < b of w_ab (token_a * token_b): [..., P, D_code] -> [..., D_code]."""
        # sum_a token_a * (sum_b w_ab token_b): the P (P - 1) / 2 products are never laid out.
        partners = self.pair_weights.triu(diagonal=1) @ embedded
        return (embedded * partners).sum(dim=-2)

    @property
    def weight(self) -> Tensor:
        """[I + 1, D], computed anew; the last row is the padding's."""
        return F.pad(self.combine(self.tokens), (0, 0, 0, 1))


class Motor(nn.Module):
    """A SASRec over the items of a token cross network."""

    def __init__(self, sequences: SASRec) -> None:
        super().__init__()
        self.sequences = sequences

    def score(self, histories: Sequence[ItemRows]) -> Tensor:
        """[B, I] scores of the whole catalogue after each history, as `SASRec.score` gives them."""
        return self.sequences.score(histories)

    def item_embeddings(self) -> Tensor:
        """[I, D] float32 on the CPU, a copy without gradient."""
        return self.sequences.collaborative_embeddings()


def train_motor(
    split: Split,
    codes: Mapping[Modality, Tensor],
    code_embeddings: Mapping[Modality, Tensor],
    config: MotorConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> Motor:
    """Train as `train_sasrec` does: stop early on validation nDCG@10 (masked), keep the best epoch.

    codes: [I, L] int64, the semantic IDs of text and images. code_embeddings: [L, S, D_code].
    The global random state is left as it was.

    Raises InvalidInputError when codes and code embeddings do not agree, or when no user has a
    training pair or a validation target.
    """
    if not config.pretrained:
        code_embeddings = random_code_embeddings(code_embeddings, seed=config.seed)

    def build() -> SASRec:
        items = TokenCrossNetwork(codes, code_embeddings, config)
        return SASRec(items.number_of_items, config, items)

    sequences = train_built(build, split, config.seed, on_progress, stage=STAGE, device=device)
    return Motor(sequences).eval()


def _check(codes: Mapping[Modality, Tensor], code_embeddings: Mapping[Modality, Tensor]) -> None:
    if not codes:
        raise InvalidInputError.of("codes", "name no modality")
    if set(codes) != set(code_embeddings):
        raise InvalidInputError.of("code_embeddings", f"must be of the modalities {sorted(codes)}")
    items = {len(rows) for rows in codes.values()}
    if len(items) != 1:
        raise InvalidInputError.of("codes", f"disagree on the number of items: {sorted(items)}")
    dimensions = {table.shape[2] for table in code_embeddings.values()}
    if len(dimensions) != 1:
        raise InvalidInputError.of("code_embeddings", f"have the dimensions {sorted(dimensions)}")
    for modality, rows in codes.items():
        levels, size, _ = code_embeddings[modality].shape
        if rows.shape[1] != levels:
            raise InvalidInputError.of(
                f"codes.{modality}", f"have {rows.shape[1]} levels, the code embeddings {levels}"
            )
        if rows.numel() and (int(rows.min()) < 0 or int(rows.max()) >= size):
            raise InvalidInputError.of(f"codes.{modality}", f"go beyond the {size} codes a level")
