"""Semantic IDs of items, one row an item and bundle."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import in_chunks, is_one_of
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

    async def put(self, bundle: str, rows: Iterable[ItemSemanticIds]) -> None:
        """Store semantic IDs; those of an older item version never replace a newer one's.

        The items must differ from one another.
        """
        for chunk in in_chunks(rows):
            await self._put(bundle, chunk)

    async def _put(self, bundle: str, rows: Sequence[ItemSemanticIds]) -> None:
        given = (
            func.jsonb_to_recordset(literal([_as_json(row) for row in rows], JSONB))
            .table_valued(*(SemanticIdRow.__table__.c[name] for name in _COLUMNS), name="given")
            .render_derived(with_types=True)
        )
        statement = insert(SemanticIdRow).from_select(
            ["catalog_id", "bundle", *_COLUMNS],
            select(literal(self._catalog_id), literal(bundle), *given.columns),
        )
        fresh = statement.excluded
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=["catalog_id", "bundle", "item_id"],
                set_={name: fresh[name] for name in _COLUMNS if name != "item_id"},
                where=SemanticIdRow.item_version <= fresh.item_version,
            )
        )

    async def refresh_statistics(self) -> None:
        """After a whole bundle came: Postgres plans as if a bundle it has not counted were empty,
        and looks through all of its rows for each item."""
        await self._session.execute(text(f"ANALYZE {SemanticIdRow.__tablename__}"))

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


_COLUMNS = ("item_id", "item_version", "codes", "imputed", "neighbours")


def _as_json(row: ItemSemanticIds) -> dict[str, Any]:
    return {
        "item_id": row.item_id,
        "item_version": row.item_version,
        "codes": {modality.value: list(codes) for modality, codes in row.codes.items()},
        "imputed": [modality.value for modality in row.imputed],
        "neighbours": [list(neighbour) for neighbour in row.neighbours],
    }


def _from_row(row: SemanticIdRow) -> ItemSemanticIds:
    return ItemSemanticIds(
        item_id=row.item_id,
        item_version=row.item_version,
        codes={Modality(name): codes for name, codes in row.codes.items()},
        imputed=[Modality(name) for name in row.imputed],
        neighbours=[(item_id, weight) for item_id, weight in row.neighbours],
    )
