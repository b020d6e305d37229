"""Items, and the outbox rows that go with every change of one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import is_one_of
from shared.database.tables import ItemRow, OutboxRow, SemanticIdRow


@dataclass(frozen=True)
class ItemContent:
    """What an item says of itself."""

    title: str
    description: str
    categories: tuple[str, ...]
    brand: str | None
    attributes: dict[str, Any]
    image_sha256: str | None
    content_hash: str


@dataclass(frozen=True)
class NewItem:
    item_id: str
    content: ItemContent


class ItemRepository:
    """The items of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def get(self, item_id: str, *, for_update: bool = False) -> ItemRow | None:
        """The item, unless it does not exist or was deleted."""
        statement = select(ItemRow).where(
            ItemRow.catalog_id == self._catalog_id,
            ItemRow.item_id == item_id,
            ItemRow.deleted_at.is_(None),
        )
        if for_update:
            statement = statement.with_for_update()
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def get_many(self, item_ids: Sequence[str]) -> dict[str, ItemRow]:
        """Those of the items that exist, by id."""
        statement = select(ItemRow).where(
            ItemRow.catalog_id == self._catalog_id,
            is_one_of(ItemRow.item_id, item_ids),
            ItemRow.deleted_at.is_(None),
        )
        rows = (await self._session.execute(statement)).scalars()
        return {row.item_id: row for row in rows}

    async def existing(self, item_ids: Collection[str]) -> set[str]:
        """Those of the ids that belong to an item."""
        statement = select(ItemRow.item_id).where(
            ItemRow.catalog_id == self._catalog_id,
            is_one_of(ItemRow.item_id, item_ids),
            ItemRow.deleted_at.is_(None),
        )
        return set((await self._session.execute(statement)).scalars())

    async def page(
        self, *, after_ordinal: int = 0, limit: int, status: str | None = None
    ) -> list[ItemRow]:
        """Items in the order of their arrival, those after a place first."""
        statement = (
            select(ItemRow)
            .where(
                ItemRow.catalog_id == self._catalog_id,
                ItemRow.ordinal > after_ordinal,
                ItemRow.deleted_at.is_(None),
            )
            .order_by(ItemRow.ordinal)
            .limit(limit)
        )
        if status is not None:
            statement = statement.where(ItemRow.status == status)
        return list((await self._session.execute(statement)).scalars())

    async def between(self, first_ordinal: int, last_ordinal: int) -> list[ItemRow]:
        """Items in the order of their arrival, from one place to another."""
        statement = (
            select(ItemRow)
            .where(
                ItemRow.catalog_id == self._catalog_id,
                ItemRow.ordinal.between(first_ordinal, last_ordinal),
                ItemRow.deleted_at.is_(None),
            )
            .order_by(ItemRow.ordinal)
        )
        return list((await self._session.execute(statement)).scalars())

    async def count(self) -> int:
        statement = (
            select(func.count())
            .select_from(ItemRow)
            .where(ItemRow.catalog_id == self._catalog_id, ItemRow.deleted_at.is_(None))
        )
        return (await self._session.execute(statement)).scalar_one()

    async def without_semantic_ids(
        self, bundle: str, *, after_item_id: str = "", limit: int
    ) -> list[ItemRow]:
        """Items that have no semantic IDs of their version under a bundle, in the order of ids.

        Failed ones are left out: they can never have any.
        """
        statement = (
            select(ItemRow)
            .outerjoin(
                SemanticIdRow,
                (SemanticIdRow.catalog_id == ItemRow.catalog_id)
                & (SemanticIdRow.item_id == ItemRow.item_id)
                & (SemanticIdRow.item_version == ItemRow.version)
                & (SemanticIdRow.bundle == bundle),
            )
            .where(
                ItemRow.catalog_id == self._catalog_id,
                ItemRow.item_id > after_item_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
                SemanticIdRow.item_id.is_(None),
            )
            .order_by(ItemRow.item_id)
            .limit(limit)
        )
        return list((await self._session.execute(statement)).scalars())

    async def insert(self, item: NewItem, *, relay_after: timedelta) -> ItemRow | None:
        """Store a new item (version 1, or one above a deleted one's) and its outbox row.

        Returns None where the id is taken by an item that is not deleted. `relay_after`: how long
        the relay leaves the item to whoever brought it.
        """
        rows = await self.insert_many([item], relay_after=relay_after)
        return rows[0] if rows else None

    async def insert_many(
        self, items: Sequence[NewItem], *, relay_after: timedelta
    ) -> list[ItemRow]:
        """Store those of the items whose id is free, with their outbox rows; returns them.

        The items' ids must differ from one another.
        """
        if not items:
            return []
        statement = insert(ItemRow)
        fresh = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=[ItemRow.catalog_id, ItemRow.item_id],
            set_={
                "version": ItemRow.version + 1,
                "status": "pending",
                "problem": None,
                "deleted_at": None,
                "created_at": func.now(),
                "updated_at": func.now(),
                **{name: fresh[name] for name in _CONTENT_COLUMNS},
            },
            where=ItemRow.deleted_at.is_not(None),
        )
        stored = await self._session.execute(
            statement.returning(ItemRow),
            [
                {
                    "catalog_id": self._catalog_id,
                    "item_id": item.item_id,
                    "version": 1,
                    "status": "pending",
                    **_columns(item.content),
                }
                for item in items
            ],
            execution_options={"populate_existing": True},
        )
        rows = list(stored.scalars())
        await self._enqueue(rows, "upsert", relay_after)
        return rows

    async def change(self, row: ItemRow, content: ItemContent, *, relay_after: timedelta) -> None:
        """Give a locked item new content: version + 1, pending, an outbox row."""
        row.version += 1
        row.status = "pending"
        row.problem = None
        row.updated_at = datetime.now(UTC)
        for name, value in _columns(content).items():
            setattr(row, name, value)
        await self._session.flush()
        await self._enqueue([row], "upsert", relay_after)

    async def delete(self, row: ItemRow, *, relay_after: timedelta) -> None:
        """Mark a locked item deleted: version + 1, an outbox row that takes it from the index."""
        row.version += 1
        row.deleted_at = row.updated_at = datetime.now(UTC)
        await self._session.flush()
        await self._enqueue([row], "delete", relay_after)

    async def mark_ready(self, versions: dict[str, int]) -> set[str]:
        """Mark items ready where they still have the given version; returns which had."""
        return await self._finish(versions, status="ready", problem=None)

    async def mark_failed(self, item_id: str, version: int, problem: dict[str, Any]) -> bool:
        """Mark an item that can never become ready as it is; false if it changed meanwhile."""
        return bool(await self._finish({item_id: version}, status="failed", problem=problem))

    async def _finish(
        self, versions: dict[str, int], *, status: str, problem: dict[str, Any] | None
    ) -> set[str]:
        locked = await self._session.execute(
            select(ItemRow.item_id, ItemRow.version)
            .where(
                ItemRow.catalog_id == self._catalog_id,
                is_one_of(ItemRow.item_id, versions),
                ItemRow.deleted_at.is_(None),
            )
            .order_by(ItemRow.item_id)
            .with_for_update()
        )
        unchanged = {item_id for item_id, version in locked if versions[item_id] == version}
        await self._session.execute(
            update(ItemRow)
            .where(ItemRow.catalog_id == self._catalog_id, is_one_of(ItemRow.item_id, unchanged))
            .values(status=status, problem=problem, updated_at=func.now())
            .execution_options(synchronize_session=False)
        )
        return unchanged

    async def _enqueue(self, rows: Sequence[ItemRow], action: str, relay_after: timedelta) -> None:
        if not rows:
            return
        statement = insert(OutboxRow).values(next_attempt_at=func.now() + relay_after)
        fresh = statement.excluded
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[OutboxRow.catalog_id, OutboxRow.item_id],
                set_={
                    "item_version": fresh.item_version,
                    "action": fresh.action,
                    "attempts": 0,
                    "next_attempt_at": fresh.next_attempt_at,
                    "last_error": None,
                    "created_at": func.now(),
                },
            ),
            [
                {
                    "catalog_id": self._catalog_id,
                    "item_id": row.item_id,
                    "item_version": row.version,
                    "action": action,
                }
                for row in rows
            ],
        )


_CONTENT_COLUMNS = (
    "title",
    "description",
    "categories",
    "brand",
    "attributes",
    "image_sha256",
    "content_hash",
)


def _columns(content: ItemContent) -> dict[str, Any]:
    columns = {name: getattr(content, name) for name in _CONTENT_COLUMNS}
    return {**columns, "categories": list(content.categories)}


def content_of(row: ItemRow) -> ItemContent:
    """The content of a stored item."""
    values = {name: getattr(row, name) for name in _CONTENT_COLUMNS}
    return replace(ItemContent(**values), categories=tuple(row.categories))
