"""The outbox: what accepted changes of items still need, claimed by the relay."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Integer, Text, delete, exists, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import is_one_of
from shared.database.tables import BundleRow, ItemRow, OutboxRow, SemanticIdRow


class OutboxRepository:
    """The outbox of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def claim(self, limit: int, *, lease: timedelta) -> list[OutboxRow]:
        """Take rows that are due; for `lease` no other relay takes them.

        `FOR UPDATE SKIP LOCKED` lets several relays claim at once without waiting for one another.
        The attempts are counted here, so that a relay that dies is counted too. Rows of a catalogue
        without a live bundle wait: there is nothing yet that their items could be added to.
        """
        has_live_bundle = exists().where(
            BundleRow.catalog_id == OutboxRow.catalog_id, BundleRow.state == "live"
        )
        due = (
            select(OutboxRow)
            .where(OutboxRow.next_attempt_at <= func.now(), has_live_bundle)
            .order_by(OutboxRow.next_attempt_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = list((await self._session.execute(due)).scalars())
        keys = [(row.catalog_id, row.item_id) for row in rows]
        if keys:
            claimed = await self._session.execute(
                update(OutboxRow)
                .where(tuple_(OutboxRow.catalog_id, OutboxRow.item_id).in_(keys))
                .values(
                    attempts=OutboxRow.attempts + 1,
                    next_attempt_at=func.now() + lease,
                )
                .returning(OutboxRow)
                .execution_options(synchronize_session=False, populate_existing=True)
            )
            claimed.scalars().all()  # brings the rows above up to date
        return rows

    async def get(self, catalog_id: str, item_ids: Sequence[str]) -> list[OutboxRow]:
        """The rows of the items named, if they have any."""
        statement = select(OutboxRow).where(
            OutboxRow.catalog_id == catalog_id, is_one_of(OutboxRow.item_id, item_ids)
        )
        return list((await self._session.execute(statement)).scalars())

    async def remove(self, catalog_id: str, versions: dict[str, int]) -> None:
        """Remove the rows of items whose change is done, unless a newer change came meanwhile."""
        done = select(
            func.unnest(literal(list(versions), ARRAY(Text))),
            func.unnest(literal(list(versions.values()), ARRAY(Integer))),
        )
        await self._session.execute(
            delete(OutboxRow)
            .where(
                OutboxRow.catalog_id == catalog_id,
                tuple_(OutboxRow.item_id, OutboxRow.item_version).in_(done),
            )
            .execution_options(synchronize_session=False)
        )

    async def postpone(
        self, catalog_id: str, item_id: str, version: int, *, by: timedelta, error: str
    ) -> None:
        """Try this change again later, and note why."""
        await self._session.execute(
            update(OutboxRow)
            .where(
                OutboxRow.catalog_id == catalog_id,
                OutboxRow.item_id == item_id,
                OutboxRow.item_version == version,
            )
            .values(next_attempt_at=func.now() + by, last_error=error)
            .execution_options(synchronize_session=False)
        )

    async def hasten(self, catalog_id: str) -> None:
        """Make all rows of a catalogue due now: what they waited for is there."""
        await self._session.execute(
            update(OutboxRow)
            .where(OutboxRow.catalog_id == catalog_id)
            .values(next_attempt_at=func.now())
            .execution_options(synchronize_session=False)
        )

    async def enqueue_without_semantic_ids(self, catalog_id: str, bundle: str) -> int:
        """Enqueue every item that has no semantic IDs of its version under a bundle.

        Run after a bundle goes live: it catches what arrived while the bundle was made. Returns
        how many rows were added.
        """
        missing = (
            select(
                ItemRow.catalog_id,
                ItemRow.item_id,
                ItemRow.version,
                literal("upsert"),
                func.now(),
            )
            .outerjoin(
                SemanticIdRow,
                (SemanticIdRow.catalog_id == ItemRow.catalog_id)
                & (SemanticIdRow.item_id == ItemRow.item_id)
                & (SemanticIdRow.item_version == ItemRow.version)
                & (SemanticIdRow.bundle == bundle),
            )
            .where(
                ItemRow.catalog_id == catalog_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
                SemanticIdRow.item_id.is_(None),
            )
        )
        statement = (
            insert(OutboxRow)
            .from_select(
                ["catalog_id", "item_id", "item_version", "action", "next_attempt_at"], missing
            )
            .on_conflict_do_nothing()
            .returning(OutboxRow.item_id)
        )
        return len((await self._session.execute(statement)).all())

    async def depth(self) -> int:
        """How many changes wait."""
        statement = select(func.count()).select_from(OutboxRow)
        return (await self._session.execute(statement)).scalar_one()
