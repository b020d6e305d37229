from uuid import UUID

import pytest

from shared.database.interactions import InteractionRepository

pytestmark = pytest.mark.integration


@pytest.fixture
async def stocked(gateway):
    """Five ready items, a to e."""
    for item_id in "abcde":
        await gateway.client.post(
            "/v1/items", json={"item_id": item_id, "title": f"Item {item_id}"}
        )
    return gateway


def event(user_id, item_id, **more):
    return {"user_id": user_id, "item_id": item_id, **more}


async def test_events_become_the_users_history_in_the_order_of_their_times(stocked):
    answer = await stocked.client.post(
        "/v1/events",
        json={
            "events": [
                event("u", "b", timestamp="2026-01-02T00:00:00Z"),
                event("u", "a", timestamp="2026-01-01T00:00:00Z", rating=4.5),
                event("v", "c"),
            ]
        },
    )

    assert answer.json() == {"accepted": 3, "duplicates": 0, "rejected": []}
    async with stocked.database.transaction() as session:
        assert await InteractionRepository(session, "shop").history("u", limit=9) == ["a", "b"]


async def test_events_of_unknown_items_are_rejected_alone(stocked):
    answer = await stocked.client.post(
        "/v1/events", json={"events": [event("u", "a"), event("u", "nothing"), event("u", "b")]}
    )

    result = answer.json()
    assert (answer.status_code, result["accepted"]) == (200, 2)
    (rejected,) = result["rejected"]
    assert (rejected["line"], rejected["status"], rejected["item_id"]) == (2, 422, "nothing")
    assert rejected["problem"]["errors"][0]["field"] == "events.1.item_id"


async def test_an_event_sent_again_is_not_stored_again(stocked):
    events = {"events": [event("u", "a", event_id="e1"), event("u", "b", event_id="e2")]}
    await stocked.client.post("/v1/events", json=events)

    again = await stocked.client.post(
        "/v1/events", json={"events": [*events["events"], event("u", "c", event_id="e3")]}
    )

    assert again.json() == {"accepted": 1, "duplicates": 2, "rejected": []}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"user_id": "u"}, "events.0.item_id"),
        (event("u", "a", timestamp="2026-01-01T00:00:00"), "events.0"),
        (event("u\x00", "a"), "events.0.user_id"),
        (event("u", "a", colour="blue"), "events.0.colour"),
    ],
)
async def test_a_wrong_event_is_named(stocked, is_problem, row, field):
    is_problem(await stocked.client.post("/v1/events", json={"events": [row]}), 422, field)


async def test_no_events_and_too_many_are_refused(client, is_problem):
    is_problem(await client.post("/v1/events", json={"events": []}), 422, "events")
    too_many = {"events": [event("u", "a")] * 1001}
    is_problem(await client.post("/v1/events", json=too_many), 422, "events", "1000")


async def test_recommendations_have_titles_scores_and_shares(stocked):
    answer = await stocked.client.post("/v1/recommendations", json={"history": ["a", "c"], "k": 2})

    assert answer.status_code == 200
    result = answer.json()
    assert UUID(result["recommendation_id"]).version == 4
    assert (result["source"], result["unknown_items"]) == ("ranker", [])
    assert [(item["item_id"], item["title"]) for item in result["items"]] == [
        ("b", "Item b"),
        ("d", "Item d"),
    ]
    assert sum(result["items"][0]["shares"].values()) == result["items"][0]["score"]


async def test_the_request_reaches_the_ranking_as_it_is(stocked, stand_ins):
    filters = {"categories": ["Kitchen"], "attributes": {"colour": ["blue", "red"]}, "deny": ["e"]}
    await stocked.client.post(
        "/v1/recommendations",
        json={"history": ["a"], "k": 3, "exclude_seen": False, "filter": filters},
    )

    sent = stand_ins.ranking.requests[-1]
    assert (sent.catalog_id, sent.history, sent.k, sent.exclude_seen) == ("shop", ["a"], 3, False)
    assert sent.filter.model_dump(exclude_unset=True, exclude={"allow"}) == filters


async def test_a_users_history_is_read_from_the_events(stocked, stand_ins):
    await stocked.client.post("/v1/events", json={"events": [event("u", "c"), event("u", "a")]})

    answer = await stocked.client.post("/v1/recommendations", json={"user_id": "u"})

    assert stand_ins.ranking.requests[-1].history == ["c", "a"]
    assert [item["item_id"] for item in answer.json()["items"]] == ["b", "d", "e"]


async def test_a_history_beside_a_user_is_what_is_ranked_by(stocked, stand_ins):
    await stocked.client.post("/v1/events", json={"events": [event("u", "c")]})

    answer = await stocked.client.post(
        "/v1/recommendations", json={"user_id": "u", "history": ["a"]}
    )

    assert answer.status_code == 200
    assert stand_ins.ranking.requests[-1].history == ["a"]


async def test_only_the_latest_events_of_a_user_are_read(start_gateway, stand_ins):
    gateway = await start_gateway(gateway={"history_limit": 2})
    for item_id in "abc":
        await gateway.client.post("/v1/items", json={"item_id": item_id, "title": item_id})
    await gateway.client.post("/v1/events", json={"events": [event("u", i) for i in "abc"]})

    await gateway.client.post("/v1/recommendations", json={"user_id": "u"})

    assert stand_ins.ranking.requests[-1].history == ["b", "c"]


async def test_an_empty_history_gives_popular_items_and_says_so(stocked):
    for who in ({"history": []}, {"user_id": "of whom nothing is known"}):
        answer = await stocked.client.post("/v1/recommendations", json={**who, "k": 3})

        assert answer.status_code == 200
        assert (answer.json()["source"], len(answer.json()["items"])) == ("popularity", 3)
        assert answer.json()["items"][0]["shares"] is None


async def test_unknown_items_of_a_history_are_reported_and_ignored(stocked):
    answer = await stocked.client.post(
        "/v1/recommendations", json={"history": ["nothing", "a", "nowhere"], "k": 1}
    )

    assert answer.status_code == 200
    assert answer.json()["unknown_items"] == ["nothing", "nowhere"]
    assert answer.json()["items"][0]["item_id"] == "b"


async def test_a_history_of_unknown_items_only_is_refused(stocked, is_problem):
    answer = await stocked.client.post("/v1/recommendations", json={"history": ["x", "y", "x"]})

    is_problem(answer, 422, "history", "none of these items is known")
    assert answer.json()["type"] == "urn:mmesid:problem:unknown-items"


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_user_whose_items_are_all_unknown_gets_popular_ones(stocked, stand_ins, refuses):
    stand_ins.ranking.refuses_unknown = refuses
    await stocked.client.post("/v1/events", json={"events": [event("u", "a")]})
    await stocked.client.delete("/v1/items/a")

    answer = await stocked.client.post("/v1/recommendations", json={"user_id": "u"})

    assert answer.status_code == 200
    assert (answer.json()["source"], answer.json()["unknown_items"]) == ("popularity", ["a"])
    assert len(answer.json()["items"]) == 4


async def test_an_item_deleted_while_the_ranking_is_down_is_not_shown(stocked, stand_ins):
    stand_ins.ranking.is_down = True
    await stocked.client.delete("/v1/items/b")
    stand_ins.ranking.is_down = False

    answer = await stocked.client.post("/v1/recommendations", json={"history": ["a"]})

    assert [item["item_id"] for item in answer.json()["items"]] == ["c", "d", "e"]


async def test_a_ranking_that_is_down_is_a_503_that_says_when_to_come_back(
    start_gateway, is_problem
):
    gateway = await start_gateway(services={"ranking": "http://127.0.0.1:9"})

    answer = await gateway.client.post("/v1/recommendations", json={"history": ["a"]})

    is_problem(answer, 503, cause="ranking")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        ({"history": ["a"], "k": 0}, "k"),
        ({"history": ["a"], "k": 1001}, "k"),
        ({"history": ["a"], "k": "many"}, "k"),
        ({}, "body"),
        ({"history": "a"}, "history"),
        ({"history": ["a", 7]}, "history.1"),
        ({"history": ["a\x00"]}, "history.0"),
        ({"user_id": "u\x00"}, "user_id"),
        ({"history": ["a"], "filter": {"colour": "blue"}}, "filter.colour"),
    ],
)
async def test_a_wrong_request_for_recommendations_is_named(
    client, is_problem, request_body, field
):
    is_problem(await client.post("/v1/recommendations", json=request_body), 422, field)
