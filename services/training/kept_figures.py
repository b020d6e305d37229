"""What became of the items that the bundle has in common with the one its weights come from."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from services.training.warm_start import Start
from shared.artifacts.bundle import Bundle
from shared.modeling.drift import mean_cosine, share_of_kept_codes
from shared.modeling.inheritance import NEW
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality

C = Modality.COLLABORATIVE


def kept_figures(
    start: Start,
    parent: Bundle,
    item_ids: Sequence[str],
    codes: Mapping[Modality, Tensor],
    tables: ItemTables,
) -> dict[str, dict[str, float]]:
    """Of the common items, by modality.

    sids_kept: the share whose codes are all as they were, where the tokenizer is the same.
    cosine_kept: of E_c before and after, on average, where SASRec started from the parent's: how
    far the space has drifted.

    codes: [I, L]. tables: of the I items.
    """
    place = {item: row for row, item in enumerate(parent.catalogue.item_ids)}
    former = np.array([place.get(item, NEW) for item in item_ids])
    now = np.flatnonzero(former != NEW)
    former = former[now]
    figures: dict[str, dict[str, float]] = {}
    if start.stages["quantize"] == "kept":
        before = parent.sids()
        figures["sids_kept"] = {
            j.value: share_of_kept_codes(torch.from_numpy(before[j][former]), rows[now])
            for j, rows in codes.items()
        }
    if start.stages["collaborative"] != "cold":
        known = ~(parent.catalogue.imputed[C][former] | tables.imputed[C][now])
        if known.any():
            cosine = mean_cosine(
                torch.from_numpy(parent.catalogue.embeddings[C][former[known]]),
                torch.from_numpy(tables.embeddings[C][now[known]]),
            )
            figures["cosine_kept"] = {C.value: cosine}
    return figures
