"""Interactions of users with items."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    cast,
    distinct,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import rows_of
from shared.database.tables import InteractionRow, ItemRow
from shared.positives import EVENT_TYPES, EventType, Positives, weighs_enough
from shared.settings import EventSettings

# Of a user who looks at one item all day, no more than this is read for one recommendation.
MOST_READ = 10_000


@dataclass(frozen=True)
class NewInteraction:
    user_id: str
    item_id: str
    event_type: EventType
    occurred_at: datetime
    rating: float | None = None
    recommendation_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True)
class Totals:
    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class Mark:
    """The interactions that had arrived at a time: `newest_id` is the last of them, if any.

    Transactions before `transaction` may still be storing some with smaller ids.
    """

    newest_id: int | None
    transaction: int


class InteractionRepository:
    """The interactions of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def add(self, interactions: Sequence[NewInteraction]) -> list[bool]:
        """Store interactions in the given order; returns of each whether it was new.

        One whose `event_id` is known already is not stored again.
        """
        ids = await self._next_ids(len(interactions))
        # In one order everywhere: two callers that bring the same events would else wait for each
        # other. The ids keep the given order.
        numbered = sorted(
            zip(ids, interactions, strict=True), key=lambda pair: pair[1].event_id or ""
        )
        columns = {
            "id": [id_ for id_, _ in numbered],
            **{
                field.name: [getattr(row, field.name) for _, row in numbered]
                for field in fields(NewInteraction)
            },
        }
        given = rows_of(InteractionRow, columns)
        statement = (
            insert(InteractionRow)
            .from_select(
                ["catalog_id", *columns], select(literal(self._catalog_id), *given.columns)
            )
            .on_conflict_do_nothing()
            .returning(InteractionRow.id)
        )
        new = set((await self._session.execute(statement)).scalars())
        return [id_ in new for id_ in ids]

    async def _next_ids(self, count: int) -> list[int]:
        """The transaction gets its number before the first id, as `is_settled` supposes."""
        sequence = func.pg_get_serial_sequence(InteractionRow.__tablename__, "id")
        numbers = func.generate_series(1, count).table_valued("number")
        await self._session.execute(select(cast(func.pg_current_xact_id(), Text)))
        statement = select(func.nextval(sequence)).select_from(numbers)
        return sorted((await self._session.execute(statement)).scalars())

    async def history(self, user_id: str, *, limit: int, rule: EventSettings) -> list[str]:
        """The latest positions of the user's sequence, oldest first."""
        statement = (
            select(InteractionRow.item_id, InteractionRow.event_type, InteractionRow.rating)
            .where(InteractionRow.catalog_id == self._catalog_id, InteractionRow.user_id == user_id)
            .order_by(InteractionRow.occurred_at.desc(), InteractionRow.id.desc())
            .limit(MOST_READ)
            .execution_options(yield_per=2 * limit)
        )
        positives = Positives(rule)
        latest_first = await self._session.stream(statement)
        try:
            async for item_id, event_type, rating in latest_first:
                positives.add(item_id, event_type, rating)
                if len(positives.item_ids) == limit:
                    break
        finally:
            await latest_first.close()
        return positives.item_ids[::-1]

    async def seen(self, user_id: str) -> set[str]:
        """The items of whatever the user did lately, also of what is no positive."""
        statement = (
            select(InteractionRow.item_id)
            .where(InteractionRow.catalog_id == self._catalog_id, InteractionRow.user_id == user_id)
            .order_by(InteractionRow.occurred_at.desc(), InteractionRow.id.desc())
            .limit(MOST_READ)
        )
        return set((await self._session.execute(statement)).scalars())

    async def sequences(self, rule: EventSettings) -> AsyncIterator[Positives]:
        """The sequence of every user with interactions, each oldest first."""
        statement = (
            select(
                InteractionRow.user_id,
                InteractionRow.item_id,
                InteractionRow.event_type,
                InteractionRow.rating,
            )
            .where(InteractionRow.catalog_id == self._catalog_id)
            .order_by(InteractionRow.user_id, InteractionRow.occurred_at, InteractionRow.id)
            .execution_options(yield_per=10_000)
        )
        of_user, positives = None, Positives(rule)
        async for user_id, item_id, event_type, rating in await self._session.stream(statement):
            if user_id != of_user:
                if of_user is not None:
                    yield positives
                of_user, positives = user_id, Positives(rule)
            positives.add(item_id, event_type, rating)
        if of_user is not None:
            yield positives

    async def latest(
        self, user_id: str, *, before: tuple[datetime, int] | None, limit: int
    ) -> list[InteractionRow]:
        """Everything the user did, newest first; `before` is the time and id of a row."""
        statement = (
            select(InteractionRow)
            .where(InteractionRow.catalog_id == self._catalog_id, InteractionRow.user_id == user_id)
            .order_by(InteractionRow.occurred_at.desc(), InteractionRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            place = tuple_(InteractionRow.occurred_at, InteractionRow.id)
            statement = statement.where(place < tuple_(*before))
        return list((await self._session.execute(statement)).scalars())

    async def mark(self) -> Mark:
        """What has arrived by now."""
        newest = (
            select(func.max(InteractionRow.id))
            .where(InteractionRow.catalog_id == self._catalog_id)
            .scalar_subquery()
        )
        statement = select(newest, _number(func.pg_current_xact_id()))
        newest_id, transaction = (await self._session.execute(statement)).one()
        return Mark(newest_id, transaction)

    async def is_settled(self, mark: Mark) -> bool:
        """Whether nothing will be stored any more with an id up to the mark's.

        To be asked in another transaction than the mark was made in.
        """
        oldest_running = _number(func.pg_snapshot_xmin(func.pg_current_snapshot()))
        return bool(
            (await self._session.execute(select(oldest_running > mark.transaction))).scalar_one()
        )

    async def to_learn_from(self, rule: EventSettings) -> Totals:
        """What a snapshot would hold now: of users with two positions at least, those with items
        that are neither deleted nor failed."""
        before = func.lag(InteractionRow.item_id).over(
            partition_by=InteractionRow.user_id,
            order_by=(InteractionRow.occurred_at, InteractionRow.id),
        )
        positives = (
            select(InteractionRow.user_id, InteractionRow.item_id, before.label("item_before"))
            .where(
                InteractionRow.catalog_id == self._catalog_id,
                InteractionRow.event_type.in_(
                    [kind for kind in EVENT_TYPES if weighs_enough(kind, rule)]
                ),
                or_(InteractionRow.rating.is_(None), InteractionRow.rating > rule.positive_above),
            )
            .subquery()
        )
        items = (
            select(ItemRow.item_id)
            .where(
                ItemRow.catalog_id == self._catalog_id,
                ItemRow.deleted_at.is_(None),
                ItemRow.status != "failed",
            )
            .cte()
        )
        per_user = (
            select(func.count().label("positions"))
            .select_from(positives)
            .join(items, items.c.item_id == positives.c.item_id)
            .where(positives.c.item_id.is_distinct_from(positives.c.item_before))
            .group_by(positives.c.user_id)
            .having(func.count() > 1)
            .subquery()
        )
        statement = select(
            func.count(),
            func.coalesce(func.sum(per_user.c.positions), 0),
            select(func.count()).select_from(items).scalar_subquery(),
        ).select_from(per_user)
        users, interactions, of_items = (await self._session.execute(statement)).one()
        return Totals(users=users, items=of_items, interactions=int(interactions))

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


def _number(transaction: ColumnElement[Any]) -> ColumnElement[int]:
    """Of Postgres's 64-bit numbers of transactions, which become a number only by way of a text."""
    return cast(cast(transaction, Text), BigInteger)
