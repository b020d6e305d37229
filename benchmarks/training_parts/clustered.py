"""Made-up vectors with neighbours, as real ones have: a graph over mere noise is another matter."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shared.modeling.modality import Modality

CLUSTER, NOISE = 50, 0.5


def clustered(items: int, widths: Mapping[Modality, int]) -> dict[Modality, Tensor]:
    """E_j [I, D_j]: clusters of about 50 items, the same ones in every modality."""
    generator = torch.Generator().manual_seed(0)
    clusters = max(items // CLUSTER, 1)
    of_item = torch.randint(clusters, (items,), generator=generator)
    return {
        j: torch.randn(clusters, width, generator=generator)[of_item]
        + NOISE * torch.randn(items, width, generator=generator)
        for j, width in widths.items()
    }
