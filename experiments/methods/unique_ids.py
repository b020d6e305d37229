"""One semantic ID an item out of those of its modalities, different from every other item's."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.modality import Modality


def unique_ids(codes: Mapping[Modality, Tensor]) -> Tensor:
    """The codes [I, L_j] of the modalities one after the other, c before t before v: [I, P].

    Only where two items have all of these in common, every ID ends with one code more, which
    counts the items that share what is before it (arXiv:2305.05065, Sec. 3.1).

    Raises InvalidInputError when there is no modality or item, the item counts differ, or a code
    is negative.
    """
    if not codes:
        raise InvalidInputError.of("codes", "name no modality")
    counts = {j.value: len(rows) for j, rows in codes.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise InvalidInputError.of("codes", f"must cover the same items: {counts}")
    for j, rows in codes.items():
        if rows.ndim != 2 or not rows.shape[1] or int(rows.min()) < 0:
            raise InvalidInputError.of(f"codes.{j.value}", "must be [I, L] of numbers from 0 on")
    joined = torch.cat([codes[j] for j in Modality if j in codes], dim=1)
    _, shared, sizes = torch.unique(joined, dim=0, return_inverse=True, return_counts=True)
    if len(sizes) == len(joined):
        return joined
    order = shared.argsort(stable=True)
    place = torch.empty_like(shared)
    place[order] = torch.arange(len(joined)) - (sizes.cumsum(0) - sizes)[shared[order]]
    return torch.cat([joined, place.unsqueeze(1)], dim=1)
