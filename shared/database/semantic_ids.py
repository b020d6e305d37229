"""Semantic IDs of items, one row an item and bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import is_one_of
from shared.database.tables import ItemRow, SemanticIdRow
from shared.modeling.modality import Modality


@dataclass(frozen=True)
class ItemSemanticIds:
    """`codes`: L codes a modality. `neighbours`: (item id, weight) of those imputed from."""

    item_id: str
    item_version: int
    codes: Mapping[Modality, Sequence[int]]
    imputed: Sequence[Modality] = ()
    neighbours: Sequence[tuple[str, float]] = field(default=())


class SemanticIdRepository:
    """The semantic IDs of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def put(self, bundle: str, rows: Sequence[ItemSemanticIds]) -> None:
        """Store semantic IDs; those of an older item version never replace a newer one's."""
        if not rows:
            return
        statement = insert(SemanticIdRow)
        fresh = statement.excluded
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=["catalog_id", "bundle", "item_id"],
                set_={
                    name: fresh[name] for name in ("item_version", "codes", "imputed", "neighbours")
                },
                where=SemanticIdRow.item_version <= fresh.item_version,
            ),
            [
                {
                    "catalog_id": self._catalog_id,
                    "bundle": bundle,
                    "item_id": row.item_id,
                    "item_version": row.item_version,
                    "codes": {modality.value: list(row.codes[modality]) for modality in row.codes},
                    "imputed": [modality.value for modality in row.imputed],
                    "neighbours": [list(neighbour) for neighbour in row.neighbours],
                }
                for row in rows
            ],
        )

    async def of_items(self, bundle: str, item_ids: Sequence[str]) -> dict[str, ItemSemanticIds]:
        """The semantic IDs that belong to the items' present versions, by item."""
        statement = self._current(bundle).where(is_one_of(SemanticIdRow.item_id, item_ids))
        rows = (await self._session.execute(statement)).scalars()
        return {row.item_id: _from_row(row) for row in rows}

    async def of_ready_items(
        self, bundle: str, *, after_item_id: str = "", limit: int
    ) -> list[tuple[ItemRow, ItemSemanticIds]]:
        """Ready items with their semantic IDs in the order of their ids, a page at a time."""
        statement = (
            self._current(bundle)
            .add_columns(ItemRow)
            .where(ItemRow.status == "ready", ItemRow.item_id > after_item_id)
            .order_by(ItemRow.item_id)
            .limit(limit)
        )
        rows = await self._session.execute(statement)
        return [(item, _from_row(row)) for row, item in rows]

    def _current(self, bundle: str) -> Select[SemanticIdRow]:
        return (
            select(SemanticIdRow)
            .join(
                ItemRow,
                (ItemRow.catalog_id == SemanticIdRow.catalog_id)
                & (ItemRow.item_id == SemanticIdRow.item_id)
                & (ItemRow.version == SemanticIdRow.item_version),
            )
            .where(
                SemanticIdRow.catalog_id == self._catalog_id,
                SemanticIdRow.bundle == bundle,
                ItemRow.deleted_at.is_(None),
            )
        )


def _from_row(row: SemanticIdRow) -> ItemSemanticIds:
    return ItemSemanticIds(
        item_id=row.item_id,
        item_version=row.item_version,
        codes={Modality(name): codes for name, codes in row.codes.items()},
        imputed=[Modality(name) for name in row.imputed],
        neighbours=[(item_id, weight) for item_id, weight in row.neighbours],
    )
