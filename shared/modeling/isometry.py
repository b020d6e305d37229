"""Embeddings moved into R^D with their geometry kept."""

import torch
from torch import Tensor

PRINCIPAL_SAMPLE = 20_000


@torch.no_grad()
def centred_isometry(
    table: Tensor, dimension: int, norm: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """W [D, D_j] and b [D], float64: W s + b centres the rows s of table [I, D_j], keeps the
    geometry of their first D principal directions, and gives them this RMS norm.

    A random rotation follows, so that the modalities do not all use the same axes of R^D.
    """
    sample = table[:: max(1, len(table) // PRINCIPAL_SAMPLE)].double()
    mean = sample.mean(dim=0)
    centred = sample - mean
    rotation, _ = torch.linalg.qr(
        torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    )
    _, directions = torch.linalg.eigh(centred.T @ centred)
    principal = directions.flip(1)[:, :dimension]
    weight = rotation[:, : principal.shape[1]] @ principal.T
    weight *= norm / rms_norm(centred @ principal)
    return weight, -(weight @ mean)


def rms_norm(rows: Tensor) -> float:
    """Root mean squared norm of the rows, never 0."""
    return max(float(rows.square().sum(dim=1).mean().sqrt()), 1e-6)
