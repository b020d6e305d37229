"""One bundle as this service holds it: the quantizer, what it was trained on, and its index."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from services.tokenization.bundle_index import BundleIndex
from shared.artifacts.bundle import Bundle, Catalogue, Manifest
from shared.computing import compute
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from shared.modeling.quantizer import Quantizer
from shared.modeling.quantizer_kinds import load_quantizer

Vectors = Mapping[Modality, NDArray[np.float32]]


@dataclass(frozen=True)
class LearnedCollaborative:
    """E_c of the items that the bundle saw interactions of: theirs by right, whatever changes."""

    table: NDArray[np.float32]
    rows: Mapping[str, int]

    @classmethod
    def of(cls, catalogue: Catalogue) -> "LearnedCollaborative":
        table = catalogue.embeddings.get(Modality.COLLABORATIVE)
        if table is None:
            return cls(np.zeros((0, 0), dtype=np.float32), {})
        imputed = catalogue.imputed[Modality.COLLABORATIVE]
        return cls(
            table,
            {item: row for row, item in enumerate(catalogue.item_ids) if not imputed[row]},
        )

    def get(self, item_id: str) -> NDArray[np.float32] | None:
        """[D_c], or None for an item that the bundle learned nothing of."""
        row = self.rows.get(item_id)
        return None if row is None else self.table[row]


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """means: [D_j] a modality, of the items that the bundle did not have to estimate it of."""

    manifest: Manifest
    model: Quantizer
    learned: LearnedCollaborative
    means: Vectors
    index: BundleIndex
    computing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def open(cls, bundle: Bundle, index: BundleIndex) -> "ServedBundle":
        return cls(
            bundle.manifest,
            load_quantizer(bundle.tokenizer),
            LearnedCollaborative.of(bundle.catalogue),
            _means(bundle.catalogue),
            index,
        )

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def dimensions(self) -> Mapping[Modality, int]:
        return self.model.input_dimensions

    def own_vectors(
        self, place: str, item_id: str, vectors: Mapping[Modality, Sequence[float]]
    ) -> dict[Modality, NDArray[np.float32]]:
        """The vectors an item brings, of the bundle's modalities, and the E_c it learned.

        place: the item in the request, such as `items.0`.

        Raises InvalidInputError naming `<place>.vectors.<modality>`.
        """
        own = {
            modality: self._checked(f"{place}.vectors.{modality.value}", modality, vector)
            for modality, vector in vectors.items()
            if modality in self.dimensions
        }
        learned = self.learned.get(item_id)
        if learned is not None:
            own.setdefault(Modality.COLLABORATIVE, learned)
        return own

    def check_codes(self, place: str, codes: Mapping[Modality, Sequence[int]]) -> None:
        """Raises InvalidInputError where codes are not of this bundle's shape."""
        levels = self.model.levels
        for modality, values in codes.items():
            in_range = all(0 <= code < self.model.codebook_size for code in values)
            if modality in self.dimensions and (len(values) != levels or not in_range):
                raise InvalidInputError.of(
                    f"{place}.codes.{modality.value}",
                    f"must be {levels} codes from 0 to {self.model.codebook_size - 1}",
                )

    async def codes(self, items: Sequence[Vectors]) -> list[dict[Modality, list[int]]]:
        """The semantic IDs of items that have a vector of every modality."""
        if not items:
            return []
        batch = {
            modality: torch.from_numpy(np.stack([vectors[modality] for vectors in items]))
            for modality in self.dimensions
        }
        async with self.computing:
            codes = await compute(self.model.codes, batch)
        return [
            {modality: rows[place].tolist() for modality, rows in codes.items()}
            for place in range(len(items))
        ]

    @np.errstate(over="ignore")  # what float32 cannot hold is refused as not finite
    def _checked(
        self, place: str, modality: Modality, vector: Sequence[float]
    ) -> NDArray[np.float32]:
        array = np.asarray(vector, dtype=np.float32)
        wanted = self.dimensions[modality]
        if len(array) != wanted:
            raise InvalidInputError.of(
                place, f"has {len(array)} dimensions, bundle {self.version} wants {wanted}"
            )
        if not np.isfinite(array).all():
            raise InvalidInputError.of(place, "holds a value that is not finite")
        return array


def _means(catalogue: Catalogue) -> dict[Modality, NDArray[np.float32]]:
    """Without a copy of a table, which may be larger than the memory."""
    means: dict[Modality, NDArray[np.float32]] = {}
    for j, table in catalogue.embeddings.items():
        own = ~catalogue.imputed[j]
        share = own.astype(np.float32) / own.sum()
        means[j] = share @ table
    return means
