from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from services.gateway.recommendation_log import BATCH, RecommendationLog
from shared.database.recommendations import GivenRecommendation
from shared.database.session import Database
from shared.database.tables import RecommendationRow
from shared.database.users import UserRepository

pytestmark = pytest.mark.integration


def given(recommendation_id, **changes):
    fields = {
        "catalog_id": "shop",
        "recommendation_id": recommendation_id,
        "bundle": "v1",
        "user_id": None,
        "source": "ranker",
        "fallback": None,
        "item_ids": ["a"],
        "latency_ms": 1.0,
        "served_at": datetime.now(UTC),
    }
    return GivenRecommendation(**{**fields, **changes})


def dropped():
    return REGISTRY.get_sample_value("mmesid_gateway_recommendations_dropped_total")


class FlakyDatabase(Database):
    """Can be told to be away, as a server that is restarted is."""

    is_away = False
    refusals = 0

    @asynccontextmanager
    async def transaction(self):
        if self.is_away:
            self.refusals += 1
            raise OperationalError("connect", {}, ConnectionRefusedError())
        async with super().transaction() as session:
            yield session


@pytest.fixture
async def database(settings):
    database = FlakyDatabase(settings.database)
    yield database
    await database.close()


async def stored(database):
    async with database.transaction() as session:
        return set((await session.execute(select(RecommendationRow.recommendation_id))).scalars())


async def test_lists_are_written_in_the_background(database, until):
    log = RecommendationLog(database)
    log.start()
    for number in range(2 * BATCH + 1):
        log.add(given(f"r{number}"))

    async def all_are_there():
        return len(await stored(database)) == 2 * BATCH + 1

    await until(all_are_there)
    await log.close()


async def test_what_waits_is_written_when_the_gateway_ends(database):
    log = RecommendationLog(database)
    log.start()
    log.add(given("r1"))

    await log.close()

    assert await stored(database) == {"r1"}


async def test_while_the_database_is_away_lists_wait_and_the_oldest_give_way(database, until):
    before = dropped()
    log = RecommendationLog(database, most_waiting=3)
    database.is_away = True
    log.start()
    for number in range(5):
        log.add(given(f"r{number}"))

    async def it_was_tried():
        return database.refusals >= 2

    await until(it_was_tried)
    assert dropped() - before == 2
    database.is_away = False

    async def the_newest_are_there():
        return await stored(database) == {"r2", "r3", "r4"}

    await until(the_newest_are_there)
    await log.close()
    assert dropped() - before == 2


async def test_what_a_database_that_stays_away_never_took_is_counted(database):
    before = dropped()
    log = RecommendationLog(database)
    database.is_away = True
    log.start()
    log.add(given("r1"))
    log.add(given("r2"))

    await log.close()

    assert dropped() - before == 2


async def test_a_list_that_is_refused_does_not_end_the_writing(database, until):
    before = dropped()
    log = RecommendationLog(database)
    log.start()
    log.add(given("r1", user_id="\x00"))

    async def it_was_refused():
        return dropped() - before == 1

    await until(it_was_refused)
    log.add(given("r2"))
    await log.close()

    assert await stored(database) == {"r2"}


async def test_a_list_that_waits_while_its_user_is_forgotten_is_written_as_nobodys(database):
    log = RecommendationLog(database)
    log.add(given("r1", user_id="u"))
    log.add(given("r2", user_id="w"))
    async with database.transaction() as session:  # of any gateway
        await UserRepository(session, "shop").forget("u")

    log.start()
    await log.close()

    async with database.transaction() as session:
        rows = (await session.execute(select(RecommendationRow))).scalars()
        assert {row.recommendation_id: row.user_id for row in rows} == {"r1": None, "r2": "w"}
