"""An item with everything that its index entry and its rows in the ranking are made from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contracts.ranking import RankableItem
from shared.contracts.tokenization import IndexItem, TokenizedItem
from shared.database.embeddings import ItemVector
from shared.database.semantic_ids import ItemSemanticIds
from shared.database.tables import ItemRow
from shared.ingestion.change import Change
from shared.ingestion.content_vectors import Vectors, as_stored
from shared.ingestion.target_bundle import TargetBundle
from shared.modeling.modality import Modality


@dataclass(frozen=True)
class ReadyItem:
    """`vectors`: those of the item's content; `tokenized.imputed` holds the estimated ones."""

    change: Change
    row: ItemRow
    vectors: Vectors
    tokenized: TokenizedItem

    @property
    def semantic_ids(self) -> ItemSemanticIds:
        return ItemSemanticIds(
            item_id=self.change.item_id,
            item_version=self.change.version,
            codes=self.tokenized.codes,
            imputed=sorted(self.tokenized.imputed),
            neighbours=[(near.item_id, near.weight) for near in self.tokenized.neighbours],
        )

    def embeddings(self, target: TargetBundle) -> list[ItemVector]:
        """Content vectors under their encoder's revision, imputed ones under the bundle's."""
        revisions = {modality: target.revisions[modality] for modality in self.vectors}
        revisions |= dict.fromkeys(self.tokenized.imputed, target.version)
        return [
            ItemVector(
                item_id=self.change.item_id,
                item_version=self.change.version,
                modality=modality,
                revision=revisions[modality],
                vector=vector,
            )
            for modality, vector in self._all_vectors().items()
        ]

    def index_entry(self) -> IndexItem:
        return IndexItem(
            item_id=self.change.item_id,
            version=self.change.version,
            vectors=as_lists(self._all_vectors()),
            codes=self.tokenized.codes,
            categories=self.row.categories,
            attributes=self.row.attributes,
        )

    def rankable(self) -> RankableItem:
        return RankableItem(
            item_id=self.change.item_id,
            version=self.change.version,
            vectors=as_lists(self._all_vectors()),
            codes=self.tokenized.codes,
            neighbours=self.tokenized.neighbours,
            categories=self.row.categories,
            attributes=self.row.attributes,
        )

    def _all_vectors(self) -> dict[Modality, NDArray[np.float32]]:
        imputed = {
            modality: as_stored(vector) for modality, vector in self.tokenized.imputed.items()
        }
        return {**imputed, **self.vectors}


def as_lists(vectors: Mapping[Modality, NDArray[np.float32]]) -> dict[Modality, list[float]]:
    """[D_j] arrays as the contracts carry them."""
    return {modality: vector.tolist() for modality, vector in vectors.items()}
