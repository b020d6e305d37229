"""The embedding matrices of a run, by item row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from shared.modeling.modality import Modality

FILE = "embeddings.safetensors"


@dataclass(frozen=True)
class ItemTables:
    """embeddings: E_j [I, D_j] a modality. imputed: [I] bool a modality, the estimated rows."""

    embeddings: Mapping[Modality, NDArray[np.float32]]
    imputed: Mapping[Modality, NDArray[np.bool_]]


def save_item_tables(tables: ItemTables, folder: Path) -> None:
    arrays = {f"embeddings.{j.value}": table for j, table in tables.embeddings.items()}
    masks = {f"imputed.{j.value}": mask for j, mask in tables.imputed.items()}
    save_file({**arrays, **masks}, folder / FILE)


def load_item_tables(folder: Path) -> ItemTables:
    """What `save_item_tables` wrote."""
    arrays = load_file(folder / FILE)
    present = [j for j in Modality if f"embeddings.{j.value}" in arrays]
    return ItemTables(
        embeddings={j: arrays[f"embeddings.{j.value}"] for j in present},
        imputed={j: arrays[f"imputed.{j.value}"] for j in present},
    )
