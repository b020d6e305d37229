"""SASRec beside the LLM: a second reader of the same history, whose scores are added to Eq. 18.

    y = o E*^T + w h S^T = [o, h] [E*, w S]^T

h [D_s] is the state of a SASRec after the history and S [I, D_s] its items. It knows them by who
met them alone, the LLM by what they are as well: they err in other places, and their sum is better
than either (docs/results.md). Items that SASRec never met have rows like those of the items most
like them, and so are read and ranked too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.sasrec import SASRec, SequenceReader, padded_rows
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import ItemRows

ITEMS = "items"


class RowsOf(Protocol):
    """A table [I, D_s], or something that gives its rows as one does."""

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


class SequencePart(nn.Module):
    """SASRec, its items beside it, and the weight w of its scores."""

    items: Tensor

    def __init__(self, config: SASRecConfig, items: Tensor, weight: float) -> None:
        """items: S [I, D_s], which is used as it lies. Raises InvalidInputError when the weight is
        not above 0."""
        super().__init__()
        if not weight > 0:
            raise InvalidInputError.of("sequence_weight", f"must be above 0, is {weight}")
        self.reader = SequenceReader(config)
        self.register_buffer(ITEMS, items)
        self.weight = weight

    @classmethod
    def of(cls, trained: SASRec, items: Tensor, weight: float) -> Self:
        """The part that a trained SASRec gives. items: its own, those it never met estimated."""
        reader = {f"reader.{name}": w.clone() for name, w in trained.reader.state_dict().items()}
        return cls.around({ITEMS: items, **reader}, asdict(trained.config), weight)

    @classmethod
    def around(cls, state: Mapping[str, Tensor], config: Mapping[str, Any], weight: float) -> Self:
        """From its state dict, whose items it uses as they lie, and what `as_dict` gave."""
        part = cls(SASRecConfig(**config), state[ITEMS], weight)
        part.load_state_dict(state, assign=True)
        return part.requires_grad_(False).eval()

    def as_dict(self) -> dict[str, Any]:
        return {"config": asdict(self.reader.config), "weight": self.weight}

    @torch.no_grad()
    def states(self, histories: Sequence[ItemRows], items: RowsOf | None = None) -> Tensor:
        """h [B, D_s] of histories of item rows, oldest first.

        items: S with rows for items that came later; its own without. An empty history has a state
        too, the same for everyone.
        """
        table = self.items if items is None else items
        recent = [history[-self.reader.config.max_length :] for history in histories]
        rows, lengths = padded_rows(recent, 0, self.reader.device)
        embedded = table[rows.flatten()].view(*rows.shape, -1)
        there = torch.arange(rows.shape[1], device=rows.device) < lengths.unsqueeze(1)
        hidden: Tensor = self.reader(embedded * there.unsqueeze(2))
        return hidden[torch.arange(len(recent), device=hidden.device), (lengths - 1).clamp(min=0)]

    def scoring_rows(self, items: Tensor | None = None) -> Tensor:
        """w S [n, D_s], what h scores items with. items: their rows of S; without, all its own."""
        return self.weight * (self.items if items is None else items)
