import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.database.api_keys import Scope

LIVE = "20260101T000000-test"
METRICS = f"/v1/admin/bundles/{LIVE}/metrics"

pytestmark = pytest.mark.integration


@pytest.fixture
async def stocked(gateway):
    """Five ready items, a to e."""
    for item_id in "abcde":
        await gateway.client.post("/v1/items", json={"item_id": item_id, "title": item_id})
    return gateway


async def recommend(gateway, **body):
    answer = await gateway.client.post("/v1/recommendations", json={"k": 2, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["recommendation_id"]


async def event(gateway, recommendation_id, item_id, event_type, **more):
    row = {"user_id": "u", "item_id": item_id, "event_type": event_type, **more}
    body = {"events": [{**row, "recommendation_id": recommendation_id}]}
    assert (await gateway.client.post("/v1/events", json=body)).json()["accepted"] == 1


async def metrics(gateway, *, recommendations, **params):
    """The figures, once so many lists are written."""
    async with asyncio.timeout(30):
        while True:
            found = (await gateway.client.get(METRICS, params=params)).json()
            if found["recommendations"] == recommendations:
                return found
            await asyncio.sleep(0.05)


async def test_a_bundles_figures_come_from_the_events_that_echo_its_lists(stocked, stand_ins):
    first = await recommend(stocked, history=["a"], user_id="u")  # b, c
    second = await recommend(stocked, history=["b"], user_id="v")  # a, c
    stand_ins.ranking.falls_back = True
    await recommend(stocked, history=["a"])  # b, c
    await event(stocked, first, "b", "click")
    await event(stocked, first, "b", "purchase")
    await event(stocked, first, "d", "purchase")
    await event(stocked, second, "c", "rating", rating=5.0)
    await event(stocked, second, "a", "view")

    found = await metrics(stocked, recommendations=3)

    assert (found["impressions"], found["clicks"], found["conversions"]) == (6, 2, 1)
    assert found["users"] == 2
    assert found["click_through_rate"]["value"] == pytest.approx(2 / 6)
    assert found["click_through_rate"]["low"] < 2 / 6 < found["click_through_rate"]["high"]
    assert found["conversion_rate"]["value"] == pytest.approx(1 / 6)
    assert found["coverage"] == pytest.approx(3 / 5)
    assert found["fallback_share"] == pytest.approx(1 / 3)
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"]


async def test_a_time_can_be_chosen(stocked):
    await recommend(stocked, history=["a"])
    await metrics(stocked, recommendations=1)
    now = datetime.now(UTC)

    later = await metrics(stocked, recommendations=0, since=(now + timedelta(hours=1)).isoformat())
    around = await metrics(
        stocked,
        recommendations=1,
        since=(now - timedelta(hours=1)).isoformat(),
        until=(now + timedelta(hours=1)).isoformat(),
    )

    assert (later["click_through_rate"], later["fallback_share"]) == (None, None)
    assert around["impressions"] == 2


async def test_wrong_requests_are_named(gateway, is_problem):
    path = "/v1/admin/bundles/no-such-bundle/metrics"
    is_problem(await gateway.client.get(path), 404, cause="no-such-bundle")
    for params, field in (
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
    ):
        is_problem(await gateway.client.get(METRICS, params=params), 422, field)
    other = await gateway.client_for("other", Scope.ADMIN)
    is_problem(await other.get(METRICS), 404)
