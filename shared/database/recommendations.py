"""Lists that were given, and what came of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    any_,
    delete,
    distinct,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import in_chunks, is_one_of
from shared.database.forgotten_users import ForgottenUserRepository
from shared.database.tables import InteractionRow, ItemRow, RecommendationRow

# What somebody does with an item that a list made them look at; a view may be the list itself.
CLICKS = ("click", "cart", "purchase", "interaction", "rating")
CONVERSION = "purchase"

# By how much the clock of a gateway may be ahead of the database's.
CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True)
class GivenRecommendation:
    """`source`, `fallback`: what ranked, and why it was not the ranker. `item_ids`: best first."""

    catalog_id: str
    recommendation_id: str
    bundle: str
    user_id: str | None
    source: str
    fallback: str | None
    item_ids: Sequence[str]
    latency_ms: float
    served_at: datetime


@dataclass(frozen=True)
class Lists:
    """Figures of some lists; those of their lengths and times are None where there are no lists.

    `impressions`: items shown. `fallbacks`: lists that something simpler than the ranker made.
    """

    recommendations: int
    users: int
    impressions: int
    fallbacks: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


@dataclass(frozen=True)
class Response:
    """Shown items that somebody went on to click, and to buy."""

    clicks: int
    conversions: int


class RecommendationRepository:
    """The lists given for all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, given: Sequence[GivenRecommendation]) -> None:
        """Store lists; one that is stored already stays as it is. One whose user was forgotten
        since it was given is nobody's."""
        for rows in in_chunks(await self._without_forgotten_users(given)):
            await self._session.execute(
                insert(RecommendationRow).on_conflict_do_nothing(), [asdict(row) for row in rows]
            )

    async def _without_forgotten_users(
        self, given: Sequence[GivenRecommendation]
    ) -> list[GivenRecommendation]:
        users = {(row.catalog_id, row.user_id) for row in given if row.user_id is not None}
        forgotten = await ForgottenUserRepository(self._session).when(users)
        latest = {user: at + CLOCKS_DIFFER for user, at in forgotten.items()}
        return [
            replace(row, user_id=None)
            if row.user_id is not None
            and (row.catalog_id, row.user_id) in latest
            and row.served_at <= latest[row.catalog_id, row.user_id]
            else row
            for row in given
        ]

    async def lists(
        self, catalog_id: str, bundle: str, *, since: datetime | None, until: datetime | None
    ) -> Lists:
        """Figures of the lists that a bundle gave in a time."""
        latency = RecommendationRow.latency_ms
        statement = select(
            func.count(),
            func.count(distinct(RecommendationRow.user_id)),
            func.coalesce(func.sum(func.cardinality(RecommendationRow.item_ids)), 0),
            func.count(RecommendationRow.fallback),
            func.percentile_cont(0.5).within_group(latency),
            func.percentile_cont(0.95).within_group(latency),
        ).where(_given(catalog_id, bundle, since, until))
        return Lists(*(await self._session.execute(statement)).one())

    async def response(
        self, catalog_id: str, bundle: str, *, since: datetime | None, until: datetime | None
    ) -> Response:
        """What was clicked and bought of those lists: events that name a list and an item of it.

        An item of a list counts once, however many events there are of it.
        """
        shown = (
            select(func.bool_or(InteractionRow.event_type == CONVERSION).label("bought"))
            .select_from(RecommendationRow)
            .join(
                InteractionRow,
                (InteractionRow.catalog_id == RecommendationRow.catalog_id)
                & (InteractionRow.recommendation_id == RecommendationRow.recommendation_id)
                & (InteractionRow.item_id == any_(RecommendationRow.item_ids)),
            )
            .where(
                _given(catalog_id, bundle, since, until),
                is_one_of(InteractionRow.event_type, CLICKS),
            )
            .group_by(InteractionRow.recommendation_id, InteractionRow.item_id)
            .subquery()
        )
        statement = select(func.count(), func.count().filter(shown.c.bought)).select_from(shown)
        return Response(*(await self._session.execute(statement)).one())

    async def items_shown(
        self, catalog_id: str, bundle: str, *, since: datetime | None, until: datetime | None
    ) -> int:
        """How many items of the catalogue stood in those lists; deleted ones do not count."""
        shown = (
            select(func.unnest(RecommendationRow.item_ids, type_=Text).label("item_id"))
            .where(_given(catalog_id, bundle, since, until))
            .distinct()
            .subquery()
        )
        statement = (
            select(func.count())
            .select_from(ItemRow)
            .join(shown, shown.c.item_id == ItemRow.item_id)
            .where(ItemRow.catalog_id == catalog_id, ItemRow.deleted_at.is_(None))
        )
        return (await self._session.execute(statement)).scalar_one()

    async def remove_older(self, than: timedelta, *, limit: int) -> int:
        """Remove lists that were given longer ago than that, some at a time; returns how many."""
        key = (RecommendationRow.catalog_id, RecommendationRow.recommendation_id)
        old = (
            select(*key)
            .where(RecommendationRow.served_at < func.now() - than)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        removed = await self._session.execute(
            delete(RecommendationRow)
            .where(tuple_(*key).in_(old))
            .returning(RecommendationRow.recommendation_id)
            .execution_options(synchronize_session=False)
        )
        return len(removed.all())


def _given(
    catalog_id: str, bundle: str, since: datetime | None, until: datetime | None
) -> ColumnElement[bool]:
    return and_(
        RecommendationRow.catalog_id == catalog_id,
        RecommendationRow.bundle == bundle,
        true() if since is None else RecommendationRow.served_at >= since,
        true() if until is None else RecommendationRow.served_at < until,
    )
