from collections import Counter

import pytest

from services.gateway.traffic_split import place_of

LIVE, TRIED, OTHER = "20260101T000000-test", "20260102T000000-next", "20260103T000000-other"
TRAFFIC = "/v1/admin/traffic"
USERS = [f"user-{number}" for number in range(50)]

pytestmark = pytest.mark.integration


@pytest.fixture
async def tried(gateway):
    """A gateway with an item, and a bundle beside the live one."""
    await gateway.client.post("/v1/items", json={"item_id": "mug", "title": "A mug"})
    await gateway.publish(TRIED)
    return gateway


def split(gateway, **shares):
    body = {"shares": [{"version": v, "percent": percent} for v, percent in shares.items()]}
    return gateway.client.put(TRAFFIC, json=body)


async def recommend(gateway, **who):
    answer = await gateway.client.post("/v1/recommendations", json=who)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def bundles_of(gateway):
    """Which bundle answers each user."""
    return {user: (await recommend(gateway, user_id=user))["bundle"] for user in USERS}


async def test_users_are_split_by_percent_and_stay_where_they_are(tried):
    answer = await split(tried, **{TRIED: 20})

    assert answer.json() == {
        "live": LIVE,
        "live_percent": 80,
        "shares": [{"version": TRIED, "percent": 20}],
    }
    assert (await tried.client.get(TRAFFIC)).json() == answer.json()
    bundles = await bundles_of(tried)
    assert bundles == {u: TRIED if place_of("shop", u) < 20 else LIVE for u in USERS}
    assert 0 < Counter(bundles.values())[TRIED] < len(USERS) / 2
    assert await bundles_of(tried) == bundles

    await split(tried, **{TRIED: 40})

    wider = await bundles_of(tried)
    assert all(wider[user] == TRIED for user, bundle in bundles.items() if bundle == TRIED)
    assert Counter(wider.values())[TRIED] > Counter(bundles.values())[TRIED]


async def test_no_shares_end_the_split(tried):
    await split(tried, **{TRIED: 99})
    await split(tried)

    assert set((await bundles_of(tried)).values()) == {LIVE}
    assert (await tried.client.get(TRAFFIC)).json() == {
        "live": LIVE,
        "live_percent": 100,
        "shares": [],
    }


async def test_a_user_beside_a_history_decides_the_bundle_and_nobody_gets_the_live_one(tried):
    await split(tried, **{TRIED: 99})
    user = next(user for user in USERS if place_of("shop", user) < 99)

    assert (await recommend(tried, user_id=user, history=["mug"]))["bundle"] == TRIED
    assert (await recommend(tried, history=["mug"]))["bundle"] == LIVE


async def test_a_bundle_is_loaded_and_caught_up_before_it_gets_traffic(tried, stand_ins):
    stand_ins.ranking.requests.clear()

    await split(tried, **{TRIED: 10})

    assert stand_ins.ranking.requests[0] == ("load", TRIED)
    assert stand_ins.ranking.requests[1].bundle == TRIED
    assert TRIED in stand_ins.tokenization.loaded


async def test_a_service_that_cannot_load_a_bundle_leaves_the_traffic_as_it_was(
    tried, stand_ins, is_problem
):
    stand_ins.ranking.is_down = True

    is_problem(await split(tried, **{TRIED: 10}), 503)

    assert (await tried.client.get(TRAFFIC)).json()["shares"] == []


async def test_the_live_bundle_answers_for_one_that_is_not_loaded(tried, stand_ins):
    await split(tried, **{TRIED: 99})
    stand_ins.ranking.loaded.discard(TRIED)

    assert set((await bundles_of(tried)).values()) == {LIVE}

    stand_ins.ranking.loaded.add(TRIED)
    assert TRIED in (await bundles_of(tried)).values()


async def test_new_items_reach_every_bundle_with_traffic(tried, stand_ins):
    await split(tried, **{TRIED: 10})
    stand_ins.ranking.requests.clear()

    answer = await tried.client.post("/v1/items", json={"item_id": "teapot", "title": "A teapot"})

    assert answer.status_code == 201
    assert [request.bundle for request in stand_ins.ranking.requests] == [LIVE, TRIED]
    assert await tried.outbox("teapot") == set()


async def test_the_share_of_a_bundle_ends_when_it_goes_live(tried):
    await tried.publish(OTHER)
    await split(tried, **{TRIED: 10, OTHER: 5})

    await tried.client.post(f"/v1/admin/bundles/{TRIED}/activate")

    assert (await tried.client.get(TRAFFIC)).json() == {
        "live": TRIED,
        "live_percent": 95,
        "shares": [{"version": OTHER, "percent": 5}],
    }


async def test_what_cannot_be_shared_is_named(tried, is_problem):
    await tried.publish(OTHER, failed_gates=["ranking"])

    is_problem(await split(tried, nothing=10), 422, "shares.0.version", "nothing")
    is_problem(await split(tried, **{LIVE: 10}), 409, cause="is live")
    is_problem(await split(tried, **{OTHER: 10}), 409, cause="ranking: it is too bad")
    is_problem(await split(tried, **{TRIED: 0}), 422, "shares.0.percent")
    is_problem(await split(tried, **{TRIED: 60, OTHER: 50}), 422, "body", "more than 100")
    twice = {"shares": [{"version": TRIED, "percent": 1}] * 2}
    is_problem(await tried.client.put(TRAFFIC, json=twice), 422, "body", "only one")
    forced = {"shares": [{"version": OTHER, "percent": 1}], "force": True}
    assert (await tried.client.put(TRAFFIC, json=forced)).status_code == 200


async def test_without_a_live_bundle_there_is_nothing_to_share(start_gateway, is_problem):
    gateway = await start_gateway(live=False)
    await gateway.publish(TRIED)

    is_problem(await split(gateway, **{TRIED: 10}), 409, cause="No bundle is live")
    assert (await split(gateway)).status_code == 200
