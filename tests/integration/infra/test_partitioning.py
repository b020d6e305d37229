"""The partitions of infra/postgres are the same tables to the code."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.recommendations import GivenRecommendation, RecommendationRepository
from shared.database.session import Database
from shared.settings import EventSettings

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).parents[3] / "infra" / "postgres" / "partitioning.sql"
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=90)


def event(user, item, minutes=0):
    at = NOW + timedelta(minutes=minutes)
    return NewInteraction(user, item, "click", at, event_id=f"{user} {item}")


def given(recommendation_id, at):
    return GivenRecommendation(
        catalog_id="shop",
        recommendation_id=recommendation_id,
        bundle="v1",
        user_id="u1",
        source="ranker",
        fallback=None,
        item_ids=("a",),
        latency_ms=1.0,
        served_at=at,
    )


@pytest.fixture
async def database(settings):
    """A database with an event a user and two lists from before it was partitioned."""
    database = Database(settings.database)
    async with database.transaction() as session:
        await InteractionRepository(session, "shop").add([event(f"u{n}", "a") for n in range(40)])
        await RecommendationRepository(session).add([given("old", OLD), given("new", NOW)])
    await database.engine.dispose()
    with psycopg.connect(conninfo(settings), autocommit=True) as connection:
        connection.execute(SCRIPT.read_text())
    yield database
    await database.close()


def conninfo(settings):
    return settings.database.url.replace("+psycopg", "")


async def test_events_are_kept_known_ones_are_not_stored_again_and_their_order_goes_on(database):
    async with database.transaction() as session:
        interactions = InteractionRepository(session, "shop")
        assert await interactions.add([event("u1", "b"), event("u1", "a")]) == [True, False]
        assert await interactions.history("u1", limit=9, rule=EventSettings()) == ["a", "b"]
        totals = await interactions.totals()
    assert (totals.users, totals.interactions) == (40, 41)


async def test_lists_are_kept_counted_once_and_forgotten_by_age(database):
    async with database.transaction() as session:
        lists = RecommendationRepository(session)
        await lists.add([given("new", NOW), given("newer", NOW + timedelta(days=1))])
        assert await lists.remove_older(timedelta(days=30), limit=10) == 1
        figures = await lists.lists("shop", "v1", since=None, until=None)
    assert figures.recommendations == 2


async def test_a_history_is_read_from_one_partition_and_a_day_is_a_table(database, settings):
    with psycopg.connect(conninfo(settings)) as connection:
        plan = connection.execute(
            "EXPLAIN SELECT item_id FROM interactions WHERE catalog_id = 'shop' AND user_id = 'u1'"
        ).fetchall()
        parts = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'recommendations'::regclass"
        ).fetchone()
    assert len(set(re.findall(r" on (interactions_p\d+)\b(?!_)", str(plan)))) == 1
    assert parts == (64,)
