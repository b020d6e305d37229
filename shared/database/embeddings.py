"""Item embeddings, one row an item, modality and encoder revision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, delete, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import in_chunks, is_one_of, rows_of
from shared.database.tables import ItemEmbeddingRow, ItemRow
from shared.database.vectors import from_bytes, to_bytes
from shared.modeling.modality import Modality


@dataclass(frozen=True)
class ItemVector:
    """`vector` [D] of one modality, made from version `item_version` of the item."""

    item_id: str
    item_version: int
    modality: Modality
    revision: str
    vector: NDArray[np.float32]


class EmbeddingRepository:
    """The item embeddings of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def put(self, vectors: Sequence[ItemVector]) -> None:
        """Store vectors; one made from an older version of an item never replaces a newer one.

        No two of an item may have the same modality and revision.
        """
        for chunk in in_chunks(vectors):
            await self._put(chunk)

    async def _put(self, vectors: Sequence[ItemVector]) -> None:
        given = rows_of(
            ItemEmbeddingRow,
            {
                "item_id": [vector.item_id for vector in vectors],
                "modality": [vector.modality.value for vector in vectors],
                "revision": [vector.revision for vector in vectors],
                "item_version": [vector.item_version for vector in vectors],
                "vector": [to_bytes(vector.vector) for vector in vectors],
            },
        )
        statement = insert(ItemEmbeddingRow).from_select(
            ["catalog_id", *given.columns.keys()],
            select(literal(self._catalog_id), *given.columns),
        )
        fresh = statement.excluded
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=["catalog_id", "item_id", "modality", "revision"],
                set_={"item_version": fresh.item_version, "vector": fresh.vector},
                where=ItemEmbeddingRow.item_version <= fresh.item_version,
            )
        )

    async def of_items(
        self, item_ids: Sequence[str], revisions: Mapping[Modality, str]
    ) -> dict[str, dict[Modality, NDArray[np.float32]]]:
        """The vectors that belong to the items' present versions: item -> modality -> [D]."""
        found: dict[str, dict[Modality, NDArray[np.float32]]] = {}
        for modality, revision in revisions.items():
            statement = (
                select(ItemEmbeddingRow.item_id, ItemEmbeddingRow.vector)
                .join(
                    ItemRow,
                    (ItemRow.catalog_id == ItemEmbeddingRow.catalog_id)
                    & (ItemRow.item_id == ItemEmbeddingRow.item_id)
                    & (ItemRow.version == ItemEmbeddingRow.item_version),
                )
                .where(
                    ItemEmbeddingRow.catalog_id == self._catalog_id,
                    is_one_of(ItemEmbeddingRow.item_id, item_ids),
                    ItemEmbeddingRow.modality == modality.value,
                    ItemEmbeddingRow.revision == revision,
                )
            )
            for item_id, data in await self._session.execute(statement):
                found.setdefault(item_id, {})[modality] = from_bytes(data)
        return found

    async def of_versions(
        self, versions: Mapping[str, int], modality: Modality, revision: str
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors [D] that were made from the given versions of items, by item."""
        statement = select(
            ItemEmbeddingRow.item_id, ItemEmbeddingRow.item_version, ItemEmbeddingRow.vector
        ).where(
            ItemEmbeddingRow.catalog_id == self._catalog_id,
            is_one_of(ItemEmbeddingRow.item_id, versions),
            ItemEmbeddingRow.modality == modality.value,
            ItemEmbeddingRow.revision == revision,
        )
        return {
            item_id: from_bytes(data)
            for item_id, version, data in await self._session.execute(statement)
            if version == versions[item_id]
        }

    async def count_missing(self, revisions: Mapping[Modality, str]) -> int:
        """How many items a training run would embed: those whose text, or whose image where they
        have one, lacks a vector of its present version."""

        def lacks(modality: Modality) -> ColumnElement[bool]:
            return ~exists().where(
                ItemEmbeddingRow.catalog_id == ItemRow.catalog_id,
                ItemEmbeddingRow.item_id == ItemRow.item_id,
                ItemEmbeddingRow.item_version == ItemRow.version,
                ItemEmbeddingRow.modality == modality.value,
                ItemEmbeddingRow.revision == revisions[modality],
            )

        statement = (
            select(func.count())
            .select_from(ItemRow)
            .where(
                ItemRow.catalog_id == self._catalog_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
                or_(
                    lacks(Modality.TEXT),
                    and_(ItemRow.image_sha256.is_not(None), lacks(Modality.VISUAL)),
                ),
            )
        )
        return (await self._session.execute(statement)).scalar_one()

    async def remove_revision(self, revision: str) -> None:
        """Remove every vector of a revision: of an encoder, or of a bundle that is gone."""
        await self._session.execute(
            delete(ItemEmbeddingRow)
            .where(
                ItemEmbeddingRow.catalog_id == self._catalog_id,
                ItemEmbeddingRow.revision == revision,
            )
            .execution_options(synchronize_session=False)
        )
