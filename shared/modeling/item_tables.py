"""The embedding matrices of a catalogue, by item row, with estimates for what items lack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from shared.modeling.imputation import Content, impute
from shared.modeling.modality import Modality

FILE = "embeddings.safetensors"


@dataclass(frozen=True)
class ItemTables:
    """embeddings: E_j [I, D_j] a modality. imputed: [I] bool a modality, the estimated rows."""

    embeddings: Mapping[Modality, NDArray[np.float32]]
    imputed: Mapping[Modality, NDArray[np.bool_]]

    def tensors(self) -> dict[Modality, Tensor]:
        """The embeddings, in the same memory."""
        return {j: torch.from_numpy(table) for j, table in self.embeddings.items()}


def save_item_tables(tables: ItemTables, folder: Path) -> None:
    arrays = {f"embeddings.{j.value}": table for j, table in tables.embeddings.items()}
    masks = {f"imputed.{j.value}": mask for j, mask in tables.imputed.items()}
    save_file({**arrays, **masks}, folder / FILE)


def load_item_tables(*folders: Path) -> ItemTables:
    """What `save_item_tables` wrote; the modalities may lie in several folders."""
    arrays = {name: array for folder in folders for name, array in load_file(folder / FILE).items()}
    present = [j for j in Modality if f"embeddings.{j.value}" in arrays]
    return ItemTables(
        embeddings={j: arrays[f"embeddings.{j.value}"] for j in present},
        imputed={j: arrays[f"imputed.{j.value}"] for j in present},
    )


def impute_content(tables: ItemTables) -> ItemTables:
    """Fill the rows marked as missing from the items with the most similar other content.

    An item without any content of its own gets the mean of each modality.
    """
    filled = {
        modality: _impute(table, tables.imputed[modality], own_content(tables, without=modality))
        for modality, table in tables.embeddings.items()
    }
    return ItemTables(filled, tables.imputed)


def impute_collaborative(
    table: NDArray[np.float32], cold: NDArray[np.bool_], content: ItemTables
) -> NDArray[np.float32]:
    """E_c [I, D] with the rows of items that nobody interacted with (q = 0) estimated.

    Their vectors in SASRec were never trained. content: tables of the same items.
    """
    return _impute(table, cold, own_content(content))


def own_content(tables: ItemTables, *, without: Modality = Modality.COLLABORATIVE) -> Content:
    """What the items have of their own, without one modality: estimates do not count."""
    used = [j for j in tables.embeddings if j is not without]
    return Content(
        {j: torch.from_numpy(tables.embeddings[j]) for j in used},
        {j: torch.from_numpy(~tables.imputed[j]) for j in used},
    )


def _impute(
    table: NDArray[np.float32], missing: NDArray[np.bool_], content: Content
) -> NDArray[np.float32]:
    if not content.vectors:
        filled = table.copy()
        filled[missing] = table[~missing].mean(axis=0)
        return filled
    estimated = impute(torch.from_numpy(table), torch.from_numpy(~missing), content)
    return estimated.numpy()
