"""What a serving process reads of a catalogue's items when it loads a bundle."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from shared.database.embeddings import EmbeddingRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.modeling.modality import Modality

PAGE = 5000


@dataclass(frozen=True)
class ItemState:
    """An item as it stands now, deleted ones too."""

    item_id: str
    version: int
    is_deleted: bool
    is_ready: bool
    categories: Sequence[str]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class BundleItem:
    """A ready item's vectors [D_j] and semantic IDs under one bundle."""

    vectors: Mapping[Modality, NDArray[np.float32]]
    semantic_ids: ItemSemanticIds


async def item_states(database: Database, catalog_id: str) -> AsyncIterator[list[ItemState]]:
    """All items of a catalogue in the order of their ids, a page at a time."""
    columns = (
        ItemRow.item_id,
        ItemRow.version,
        ItemRow.deleted_at.is_not(None),
        ItemRow.status == "ready",
        ItemRow.categories,
        ItemRow.attributes,
    )
    after = ""
    while True:
        statement = (
            select(*columns)
            .where(ItemRow.catalog_id == catalog_id, ItemRow.item_id > after)
            .order_by(ItemRow.item_id)
            .limit(PAGE)
        )
        async with database.transaction() as session:
            page = [ItemState(*row) for row in await session.execute(statement)]
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1].item_id


async def bundle_items(
    database: Database,
    catalog_id: str,
    bundle: str,
    encoders: Mapping[Modality, str],
    item_ids: Sequence[str],
) -> dict[str, BundleItem]:
    """Those of the items whose present version has semantic IDs under the bundle.

    encoders: the revisions of the bundle's encoders. Vectors that were imputed for the bundle fill
    the modalities an item lacks.
    """
    if not item_ids:
        return {}
    async with database.transaction() as session:
        semantic_ids = await SemanticIdRepository(session, catalog_id).of_items(bundle, item_ids)
        embeddings = EmbeddingRepository(session, catalog_id)
        imputed = await embeddings.of_items(item_ids, dict.fromkeys(Modality, bundle))
        encoded = await embeddings.of_items(item_ids, encoders)
    return {
        item_id: BundleItem(
            {**_of(imputed.get(item_id, {}), found.imputed), **encoded.get(item_id, {})}, found
        )
        for item_id, found in semantic_ids.items()
    }


def _of(
    vectors: Mapping[Modality, NDArray[np.float32]], modalities: Sequence[Modality]
) -> dict[Modality, NDArray[np.float32]]:
    return {modality: vectors[modality] for modality in modalities if modality in vectors}
