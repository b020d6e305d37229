"""Singular values of an embedding table: how far it has collapsed (Sec. 3.1, Fig. 3b)."""

import torch
from torch import Tensor

from shared.errors import InvalidInputError

# A dimension whose singular value is below this share of the largest counts as collapsed.
COLLAPSED_BELOW = 1e-3


def log_singular_values(embeddings: Tensor) -> Tensor:
    """[min(I, D)] log10 of the singular values of [I, D] over the largest, in falling order.

    The first is 0. A singular value that vanishes in float64 is set to its smallest normal number.

    Raises InvalidInputError when the table is not a finite matrix other than 0.
    """
    shares = _shares(embeddings)
    return shares.clamp(min=torch.finfo(shares.dtype).tiny).log10()


def collapsed_share(embeddings: Tensor, below: float = COLLAPSED_BELOW) -> float:
    """Share of the D dimensions whose singular value is under `below` times the largest."""
    shares = _shares(embeddings)
    healthy = int((shares >= below).sum())
    return 1 - healthy / embeddings.shape[1]


def _shares(embeddings: Tensor) -> Tensor:
    if embeddings.ndim != 2 or embeddings.numel() == 0:
        raise InvalidInputError.of(
            "embeddings", f"must be a matrix [I, D], not {tuple(embeddings.shape)}"
        )
    table = embeddings.detach().double()
    if not bool(torch.isfinite(table).all()):
        raise InvalidInputError.of("embeddings", "must be finite")
    values: Tensor = torch.linalg.svdvals(table)
    if values[0] == 0:
        raise InvalidInputError.of("embeddings", "are all zero")
    return values / values[0]
