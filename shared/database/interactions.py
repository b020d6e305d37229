"""Interactions of users with items."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import distinct, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import in_chunks
from shared.database.tables import InteractionRow, ItemRow


@dataclass(frozen=True)
class NewInteraction:
    user_id: str
    item_id: str
    event_type: str
    occurred_at: datetime
    rating: float | None = None
    recommendation_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True)
class Totals:
    users: int
    items: int
    interactions: int


class InteractionRepository:
    """The interactions of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def add(self, interactions: Sequence[NewInteraction]) -> int:
        """Store interactions in the given order; returns how many were new.

        One whose `event_id` is known already is not stored again.
        """
        stored = 0
        for rows in in_chunks(interactions):
            statement = (
                insert(InteractionRow)
                .values([{"catalog_id": self._catalog_id, **asdict(row)} for row in rows])
                .on_conflict_do_nothing()
                .returning(InteractionRow.id)
            )
            stored += len((await self._session.execute(statement)).all())
        return stored

    async def history(self, user_id: str, *, limit: int) -> list[str]:
        """The user's latest items, oldest first."""
        latest = (
            select(InteractionRow.item_id)
            .where(InteractionRow.catalog_id == self._catalog_id, InteractionRow.user_id == user_id)
            .order_by(InteractionRow.occurred_at.desc(), InteractionRow.id.desc())
            .limit(limit)
        )
        return list((await self._session.execute(latest)).scalars())[::-1]

    async def in_order(self) -> AsyncIterator[tuple[str, str]]:
        """All (user id, item id), user by user, each user's oldest first."""
        statement = (
            select(InteractionRow.user_id, InteractionRow.item_id)
            .where(InteractionRow.catalog_id == self._catalog_id)
            .order_by(InteractionRow.user_id, InteractionRow.occurred_at, InteractionRow.id)
            .execution_options(yield_per=10_000)
        )
        async for user_id, item_id in await self._session.stream(statement):
            yield user_id, item_id

    async def to_learn_from(self) -> Totals:
        """What a snapshot would hold now: of users with two interactions at least, those with items
        that are neither deleted nor failed."""
        per_user = (
            select(func.count().label("interactions"))
            .select_from(InteractionRow)
            .join(
                ItemRow,
                (ItemRow.catalog_id == InteractionRow.catalog_id)
                & (ItemRow.item_id == InteractionRow.item_id),
            )
            .where(
                InteractionRow.catalog_id == self._catalog_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
            )
            .group_by(InteractionRow.user_id)
            .having(func.count() > 1)
            .subquery()
        )
        items = select(func.count()).where(
            ItemRow.catalog_id == self._catalog_id,
            ItemRow.deleted_at.is_(None),
            ItemRow.status != "failed",
        )
        statement = select(
            func.count(), func.coalesce(func.sum(per_user.c.interactions), 0)
        ).select_from(per_user)
        users, interactions = (await self._session.execute(statement)).one()
        return Totals(
            users=users,
            items=(await self._session.execute(items)).scalar_one(),
            interactions=int(interactions),
        )

    async def count_after(self, interaction_id: int, *, at_most: int) -> int:
        """How many were stored after one; counting ends at `at_most`."""
        newer = (
            select(InteractionRow.id)
            .where(
                InteractionRow.catalog_id == self._catalog_id, InteractionRow.id > interaction_id
            )
            .limit(at_most)
            .subquery()
        )
        return (await self._session.execute(select(func.count()).select_from(newer))).scalar_one()

    async def totals(self) -> Totals:
        statement = select(
            func.count(distinct(InteractionRow.user_id)),
            func.count(distinct(InteractionRow.item_id)),
            func.count(),
        ).where(InteractionRow.catalog_id == self._catalog_id)
        users, items, interactions = (await self._session.execute(statement)).one()
        return Totals(users=users, items=items, interactions=interactions)
