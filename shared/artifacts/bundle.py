"""A bundle: one immutable version of everything that must agree.

    <catalogue>/bundles/<version>/
      manifest.json    written last: its presence means that the bundle is complete
      collaborative/   SASRec's weights and configuration
      sequence/        those of the SASRec beside the ranker, where one was trained
      tokenizer/       the quantizer's weights and configuration
      sids.parquet     item_id, modality, codes
      ranker/          LoRA adapter, item encoder, fusion head, the base model or its name
      catalogue/       items.json (ids), catalogue.safetensors (see `Catalogue`)
      report/          metrics.json, analysis.json, spectra.png, tau.png, README.md

`Bundle` reads one; `write_catalogue`, `write_sids` and `write_manifest` make one. The weights are
written and read by the models themselves (`shared.modeling`), each in its own folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import save_file

from shared.artifacts.mapped_tensors import map_tensors
from shared.artifacts.store import ArtifactStore
from shared.errors import NotFoundError
from shared.modeling.modality import Modality

MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """What a bundle was made from, with what, and how good it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    catalog_id: str
    version: str
    created_at: datetime
    parent: str | None
    dataset: dict[str, Any]
    encoders: dict[Modality, str]
    config: dict[str, Any]
    metrics: dict[str, Any]
    libraries: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class Catalogue:
    """The items of a bundle, by row. Those of a bundle that was read are mapped, not copied.

    Attributes:
        item_ids: I ids.
        item_versions: [I], the versions of the items that the bundle was made from.
        frequency: q [I], occurrences in the training sequences (Eq. 17).
        input_table: [I, D], what the LLM reads an item as (Eq. 16).
        fused: E* [I, D], what the LLM's output is multiplied with (Eq. 18).
        embeddings: E_j [I, D_j]; vectors an item did not have are imputed.
        imputed: [I] bool a modality: which vectors were.
    """

    item_ids: Sequence[str]
    item_versions: NDArray[np.int64]
    frequency: NDArray[np.int64]
    input_table: NDArray[np.float32]
    fused: NDArray[np.float32]
    embeddings: Mapping[Modality, NDArray[np.float32]]
    imputed: Mapping[Modality, NDArray[np.bool_]]


class Bundle:
    """A complete bundle in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST).is_file():
            raise NotFoundError(f"bundle {folder.name} is not complete: it has no {MANIFEST}")
        self.folder = folder

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.model_validate_json((self.folder / MANIFEST).read_bytes())

    @property
    def collaborative(self) -> Path:
        return self.folder / "collaborative"

    @property
    def sequence(self) -> Path:
        return self.folder / "sequence"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def ranker(self) -> Path:
        return self.folder / "ranker"

    @cached_property
    def catalogue(self) -> Catalogue:
        return read_catalogue(self.folder)

    def sids(self) -> dict[Modality, NDArray[np.int64]]:
        """Codes [I, L] a modality, in the rows of the catalogue."""
        return read_sids(self.folder, self.catalogue.item_ids)


def bundle_path(catalog_id: str, version: str) -> str:
    return f"{catalog_id}/bundles/{version}"


def open_bundle(store: ArtifactStore, catalog_id: str, version: str) -> Bundle:
    """Raises NotFoundError where the bundle does not exist or is not complete."""
    path = bundle_path(catalog_id, version)
    if not store.exists(f"{path}/{MANIFEST}"):
        raise NotFoundError(f"bundle {version} of catalogue {catalog_id} does not exist")
    return Bundle(store.local_folder(path))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Complete a bundle."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    target = folder / "catalogue"
    target.mkdir(parents=True, exist_ok=True)
    (target / "items.json").write_text(json.dumps(list(catalogue.item_ids)))
    arrays: dict[str, NDArray[Any]] = {
        "item_versions": catalogue.item_versions,
        "frequency": catalogue.frequency,
        "input_table": catalogue.input_table,
        "fused": catalogue.fused,
    }
    for modality, vectors in catalogue.embeddings.items():
        arrays[f"embeddings.{modality.value}"] = vectors
        arrays[f"imputed.{modality.value}"] = catalogue.imputed[modality]
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        target / "catalogue.safetensors",
    )


def read_catalogue(folder: Path) -> Catalogue:
    """The catalogue in a bundle's folder; its arrays lie in the file (`map_tensors`).

    Raises UnavailableError where the file cannot be read.
    """
    target = folder / "catalogue"
    arrays = map_tensors(target / "catalogue.safetensors")
    present = [modality for modality in Modality if f"embeddings.{modality.value}" in arrays]
    return Catalogue(
        item_ids=json.loads((target / "items.json").read_text()),
        item_versions=arrays["item_versions"],
        frequency=arrays["frequency"],
        input_table=arrays["input_table"],
        fused=arrays["fused"],
        embeddings={modality: arrays[f"embeddings.{modality.value}"] for modality in present},
        imputed={modality: arrays[f"imputed.{modality.value}"] for modality in present},
    )


def write_sids(
    folder: Path, item_ids: Sequence[str], codes: Mapping[Modality, NDArray[np.int64]]
) -> None:
    """codes: [I, L] a modality."""
    columns: dict[str, list[Any]] = {"item_id": [], "modality": [], "codes": []}
    for modality, rows in codes.items():
        columns["item_id"] += list(item_ids)
        columns["modality"] += [modality.value] * len(item_ids)
        columns["codes"] += rows.tolist()
    pq.write_table(pa.table(columns), folder / "sids.parquet")


def read_sids(folder: Path, item_ids: Sequence[str]) -> dict[Modality, NDArray[np.int64]]:
    """Codes [I, L] a modality, in the order of `item_ids`."""
    table = pq.read_table(folder / "sids.parquet")
    place = {item_id: row for row, item_id in enumerate(item_ids)}
    codes: dict[Modality, NDArray[np.int64]] = {}
    for name in pc.unique(table["modality"]).to_pylist():
        part = table.filter(pc.equal(table["modality"], name))
        rows = [place[item_id] for item_id in part["item_id"].to_pylist()]
        values = part["codes"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        codes[Modality(name)] = np.zeros((len(item_ids), values.shape[1]), dtype=np.int64)
        codes[Modality(name)][rows] = values
    return codes
