from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.recommendations import (
    GivenRecommendation,
    Lists,
    RecommendationRepository,
    Response,
)

CATALOG = "shop"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIST = GivenRecommendation(
    catalog_id=CATALOG,
    recommendation_id="r0",
    bundle="v1",
    user_id=None,
    source="ranker",
    fallback=None,
    item_ids=("a", "b"),
    latency_ms=10.0,
    served_at=NOON,
)

pytestmark = pytest.mark.integration


class Given:
    """Gives lists and asks for their figures, a transaction a call."""

    def __init__(self, database):
        self._database = database

    async def add(self, *lists):
        async with self._database.transaction() as session:
            await RecommendationRepository(session).add(lists)

    async def event(self, recommendation_id, item_id, event_type="click", catalog=CATALOG):
        row = NewInteraction("u", item_id, event_type, NOON, recommendation_id=recommendation_id)
        async with self._database.transaction() as session:
            await InteractionRepository(session, catalog).add([row])

    async def ask(self, method, bundle="v1", since=None, until=None):
        async with self._database.transaction() as session:
            figures = getattr(RecommendationRepository(session), method)
            return await figures(CATALOG, bundle, since=since, until=until)


@pytest.fixture
def given(database):
    return Given(database)


async def test_lists_are_counted_with_their_users_items_and_times(given):
    await given.add(
        replace(LIST, recommendation_id="r1", user_id="u1", latency_ms=10),
        replace(LIST, recommendation_id="r2", user_id="u1", latency_ms=20, item_ids=("a",)),
        replace(LIST, recommendation_id="r3", user_id="u2", latency_ms=30, item_ids=()),
        replace(LIST, recommendation_id="r4", source="sasrec", fallback="deadline", latency_ms=110),
        replace(LIST, recommendation_id="r5", bundle="v2"),
        replace(LIST, recommendation_id="r6", catalog_id="rival"),
    )

    lists = await given.ask("lists")

    assert (lists.recommendations, lists.users, lists.impressions, lists.fallbacks) == (4, 2, 5, 1)
    assert lists.latency_p50_ms == pytest.approx(25)
    assert lists.latency_p95_ms == pytest.approx(98)


async def test_a_list_stored_again_is_one(given):
    await given.add(LIST)
    await given.add(LIST, replace(LIST, recommendation_id="r1"))

    assert (await given.ask("lists")).recommendations == 2


async def test_no_lists_have_no_times(given):
    assert await given.ask("lists") == Lists(0, 0, 0, 0, None, None)
    assert await given.ask("response") == Response(0, 0)
    assert await given.ask("items_shown") == 0


async def test_the_time_counts_from_since_and_before_until(given):
    await given.add(*(replace(LIST, recommendation_id=f"r{h}", served_at=NOON + timedelta(hours=h))
                      for h in range(4)))  # fmt: skip

    window = {"since": NOON + timedelta(hours=1), "until": NOON + timedelta(hours=3)}

    assert (await given.ask("lists", **window)).recommendations == 2
    await given.event("r0", "a")
    await given.event("r1", "a")
    assert await given.ask("response", **window) == Response(clicks=1, conversions=0)


async def test_an_item_of_a_list_is_clicked_once_and_bought_once(given):
    await given.add(LIST, replace(LIST, recommendation_id="r1"))
    for event_type in ("click", "click", "cart", "purchase", "purchase"):
        await given.event("r0", "a", event_type)
    await given.event("r0", "b", "rating")
    await given.event("r1", "a", "interaction")

    assert await given.ask("response") == Response(clicks=3, conversions=1)


async def test_other_events_are_no_clicks(given):
    await given.add(LIST, replace(LIST, recommendation_id="r9", bundle="v2"))
    await given.event("r0", "a", "view")
    await given.event("r0", "not in the list", "purchase")
    await given.event(None, "a", "purchase")
    await given.event("unknown", "a", "purchase")
    await given.event("r9", "a", "purchase")
    await given.event("r0", "a", "purchase", catalog="rival")

    assert await given.ask("response") == Response(0, 0)


async def test_items_shown_are_those_that_the_catalogue_still_has(given, rows):
    await rows.items("a", "b", "c", "d")
    await rows.items("e", catalog="rival")
    await given.add(LIST, replace(LIST, recommendation_id="r1", item_ids=("b", "c", "e")))
    await rows.delete("c")

    assert await given.ask("items_shown") == 2


async def test_old_lists_are_removed_some_at_a_time(given, database):
    now = datetime.now(UTC)
    days = {"r0": 0, "r1": 29, "r2": 31, "r3": 32, "r4": 400}
    await given.add(*(replace(LIST, recommendation_id=r, served_at=now - timedelta(days=d))
                      for r, d in days.items()))  # fmt: skip
    removed = []
    for _ in range(3):
        async with database.transaction() as session:
            given_lists = RecommendationRepository(session)
            removed.append(await given_lists.remove_older(timedelta(days=30), limit=2))

    assert removed == [2, 1, 0]
    assert (await given.ask("lists")).recommendations == 2
