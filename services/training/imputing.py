"""Estimates for vectors that items do not have, from the items whose content is most alike."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from services.training.item_tables import ItemTables
from shared.modeling.modality import Modality

NEIGHBOURS = 10
ROWS_AT_ONCE = 512


def impute_content(tables: ItemTables) -> ItemTables:
    """Fill the rows marked as missing from the items with the most similar other content.

    An item without any content at all gets the mean of each modality.
    """
    filled: dict[Modality, NDArray[np.float32]] = {}
    for modality, table in tables.embeddings.items():
        others = [j for j in tables.embeddings if j != modality]
        filled[modality] = _impute(table, tables.imputed[modality], tables, others)
    return ItemTables(filled, tables.imputed)


def impute_collaborative(
    table: NDArray[np.float32], cold: NDArray[np.bool_], content: ItemTables
) -> NDArray[np.float32]:
    """E_c [I, D] with the rows of items that nobody interacted with (q = 0) estimated.

    Their vectors in SASRec were never trained. content: complete tables of the same items.
    """
    return _impute(table, cold, content, list(content.embeddings))


def _impute(
    table: NDArray[np.float32],
    missing: NDArray[np.bool_],
    content: ItemTables,
    compared: Sequence[Modality],
) -> NDArray[np.float32]:
    """Each missing row becomes the similarity-weighted mean of its nearest rows that are there.

    The similarity is the mean of the cosines of the modalities that the item has of its own, as for
    items that arrive when the bundle is live.
    """
    donors = torch.from_numpy(np.flatnonzero(~missing))
    result = torch.from_numpy(table).clone()
    values = result[donors]
    unit = {j: F.normalize(torch.from_numpy(content.embeddings[j]), dim=1) for j in compared}
    own = {j: torch.from_numpy(~content.imputed[j]).float() for j in compared}
    for rows in torch.split(torch.from_numpy(np.flatnonzero(missing)), ROWS_AT_ONCE):
        similarity = torch.zeros(len(rows), len(donors))
        number = torch.zeros(len(rows), 1)
        for j in compared:
            has = own[j][rows].unsqueeze(1)
            similarity += has * (unit[j][rows] @ unit[j][donors].T)
            number += has
        result[rows] = _weighted_mean(similarity / number.clamp(min=1), values)
    return result.numpy()


def _weighted_mean(similarity: Tensor, values: Tensor) -> Tensor:
    """similarity: [m, n], values: [n, D] -> [m, D], the means of the nearest rows.

    Their weights are proportional to the similarities; below 0 they are nothing. A row that is like
    none gets the mean of all.
    """
    nearest = similarity.clamp(min=0).topk(min(NEIGHBOURS, similarity.shape[1]), dim=1)
    total = nearest.values.sum(dim=1, keepdim=True)
    mean = torch.einsum("mk,mkd->md", nearest.values, values[nearest.indices]) / total
    return torch.where(total == 0, values.mean(dim=0), mean)
