"""Vectors that an item lacks (E_c of a never-seen item, E_v without an image), from its neighbours.

Seen from the mean of the whole table, a missing vector points where the weighted mean of the
vectors of the items most alike in content points, nearly as far away as they are; the weights are
proportional to the cosine similarities, those below 0 counting as 0. The weighted mean itself would
not do: of vectors that differ it is short, and in a ranking by inner products the item would stay
below all those it is like. Nor would lengthening it from 0: that multiplies what all rows have in
common, which is what the table says of an item that nobody asks for. Content is what an item
has of its own in some modalities: the similarity of two items is the mean of the cosines
of the modalities that both have, which is the cosine of their normalised vectors side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.modality import Modality

NEIGHBOURS = 10
# An estimate is less sure than what it is made from, so it lies a little nearer to the mean. At the
# full distance items that nobody met push known ones out of the lists, at 0.8 they hardly come into
# any; chosen on validation, by items treated as if nobody had met them (docs/results.md).
DISTANCE = 0.9
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Content:
    """What n items have of their own. vectors: [n, D_j] a modality. present: [n] bool a modality,
    False where the row of `vectors` means nothing."""

    vectors: Mapping[Modality, Tensor]
    present: Mapping[Modality, Tensor]

    def rows(self, rows: Tensor) -> "Content":
        return Content(
            {j: table[rows] for j, table in self.vectors.items()},
            {j: mask[rows] for j, mask in self.present.items()},
        )


def neighbour_weights(similarities: Tensor) -> Tensor:
    """[..., k] weights that are not negative and sum to 1, proportional to cosine similarities.

    A neighbour with a similarity of 0 or less has no say; where all are such, all count alike.

    Raises InvalidInputError when there is no neighbour, or a similarity is not finite.
    """
    if similarities.numel() == 0:
        raise InvalidInputError.of("similarities", "are empty: there is no neighbour")
    if not bool(torch.isfinite(similarities).all()):
        raise InvalidInputError.of("similarities", "must be finite")
    positive = similarities.clamp(min=0)
    total = positive.sum(dim=-1, keepdim=True)
    alike = torch.full_like(positive, 1 / positive.shape[-1])
    return torch.where(total > 0, positive / torch.where(total > 0, total, 1), alike)


def blend(vectors: Tensor, weights: Tensor, around: Tensor) -> Tensor:
    """vectors [..., k, D], weights [..., k] that sum to 1, around [D] -> [..., D].

    From `around`, in the direction of the weighted mean, `DISTANCE` times the weighted mean of the
    distances away.
    """
    offsets = vectors - around
    mean = (weights.unsqueeze(-1) * offsets).sum(dim=-2)
    distance = (weights * offsets.norm(dim=-1)).sum(dim=-1, keepdim=True)
    blended: Tensor = around + F.normalize(mean, dim=-1) * DISTANCE * distance
    return blended


def content_similarities(queries: Content, items: Content) -> Tensor:
    """[m, n] mean cosines over the modalities that both have; -1 where they share none.

    Raises InvalidInputError when the two sides have different modalities.
    """
    if queries.vectors.keys() != items.vectors.keys():
        raise InvalidInputError.of(
            "queries", f"have {sorted(queries.vectors)}, the items {sorted(items.vectors)}"
        )
    sums: list[Tensor] = []
    numbers: list[Tensor] = []
    for j, vectors in queries.vectors.items():
        shared = queries.present[j].unsqueeze(1) & items.present[j].unsqueeze(0)
        cosines = F.normalize(vectors, dim=1) @ F.normalize(items.vectors[j], dim=1).T
        sums.append(cosines.masked_fill(~shared, 0))
        numbers.append(shared.to(cosines.dtype))
    if not sums:
        raise InvalidInputError.of("queries", "have no modality")
    number = torch.stack(numbers).sum(dim=0)
    mean = torch.stack(sums).sum(dim=0) / number.clamp(min=1)
    return mean.masked_fill(number == 0, -1)


def impute(
    table: Tensor, present: Tensor, content: Content, neighbours: int = NEIGHBOURS
) -> Tensor:
    """table [n, D] with every row that is not `present` [n] estimated; the others as they are.

    content: of the same n items, without the modality of the table itself. An item that is like
    no other (no content of its own, or no positive similarity) gets the mean of all known rows.

    Raises InvalidInputError when the sizes differ, or rows are missing and none is known.
    """
    sizes = {len(table), len(present), *(len(vectors) for vectors in content.vectors.values())}
    if len(sizes) > 1:
        raise InvalidInputError.of("table", f"and the content differ in length: {sorted(sizes)}")
    missing = (~present).nonzero().squeeze(1)
    known = present.nonzero().squeeze(1)
    if len(missing) == 0:
        return table.clone()
    if len(known) == 0:
        raise InvalidInputError.of("present", "no item has a vector to estimate the others from")
    result = table.clone()
    donors, donor_content = table[known], content.rows(known)
    mean = donors.mean(dim=0)
    for rows in torch.split(missing, ROWS_AT_ONCE):
        similarities = content_similarities(content.rows(rows), donor_content)
        nearest = similarities.topk(min(neighbours, len(known)), dim=1)
        estimate = blend(donors[nearest.indices], neighbour_weights(nearest.values), mean)
        like_none = nearest.values[:, :1] <= 0
        result[rows] = torch.where(like_none, mean, estimate)
    return result
