"""Singular values of an embedding table: how far it has collapsed (Sec. 3.1, Fig. 3b)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import torch
from torch import Tensor

from shared.errors import InvalidInputError

# A dimension whose singular value is below this share of the largest counts as collapsed.
COLLAPSED_BELOW = 1e-3

# Of a larger table this many rows are measured, evenly spread over it: the cost of a spectrum is
# bounded, and the three catalogues of the paper are measured whole.
MOST_ROWS = 20_000

DECIMALS = 4


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a table [I, D], or of an even sample of its rows.

    log10: [min(I, D)] log10 of each over the largest, in falling order; the first is 0. One that
    vanishes in float64 is set to its smallest normal number. dimensions: D.
    """

    log10: Sequence[float]
    dimensions: int

    @property
    def healthy(self) -> int:
        """How many dimensions have not collapsed."""
        return sum(value >= log10(COLLAPSED_BELOW) for value in self.log10)

    @property
    def collapsed(self) -> float:
        """Share of the D dimensions that have collapsed, those without a singular value too."""
        return 1 - self.healthy / self.dimensions

    def as_dict(self) -> dict[str, Any]:
        return {
            "log10": [round(value, DECIMALS) for value in self.log10],
            "dimensions": self.dimensions,
            "collapsed": self.collapsed,
        }


def spectrum_of(embeddings: Tensor) -> Spectrum:
    """The spectrum of a table [I, D]; of its `sampled_rows` where it is large.

    Raises InvalidInputError when the table is not a finite matrix other than 0.
    """
    if embeddings.ndim != 2 or embeddings.numel() == 0:
        raise InvalidInputError.of(
            "embeddings", f"must be a matrix [I, D], not {tuple(embeddings.shape)}"
        )
    table = embeddings.detach()
    if len(table) > MOST_ROWS:
        table = table[sampled_rows(len(table)).to(table.device)]
    table = table.double()
    if not bool(torch.isfinite(table).all()):
        raise InvalidInputError.of("embeddings", "must be finite")
    values: Tensor = torch.linalg.svdvals(table)
    if values[0] == 0:
        raise InvalidInputError.of("embeddings", "are all zero")
    shares = (values / values[0]).clamp(min=torch.finfo(values.dtype).tiny)
    return Spectrum(tuple(shares.log10().tolist()), table.shape[1])


def sampled_rows(items: int) -> Tensor:
    """[n] int64: the rows of a table of so many items that its spectrum is taken of, in order."""
    count = min(items, MOST_ROWS)
    return torch.arange(count) * items // max(count, 1)
