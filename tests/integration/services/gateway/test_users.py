from urllib.parse import quote

import pytest
from sqlalchemy import select

from shared.database.api_keys import Scope
from shared.database.tables import InteractionRow

pytestmark = pytest.mark.integration


@pytest.fixture
async def stocked(gateway):
    """Five ready items, a to e."""
    for item_id in "abcde":
        await gateway.client.post("/v1/items", json={"item_id": item_id, "title": item_id})
    return gateway


async def did(gateway, user_id, *item_ids, **more) -> None:
    events = [{"user_id": user_id, "item_id": item_id, **more} for item_id in item_ids]
    answer = await gateway.client.post("/v1/events", json={"events": events})
    assert answer.json()["accepted"] == len(item_ids)


def events_of(user_id: str) -> str:
    return f"/v1/users/{quote(user_id, safe='')}/events"


async def test_what_a_user_did_is_shown_as_it_was_sent(stocked):
    await did(
        stocked,
        "u",
        "a",
        event_type="rating",
        rating=2.5,
        timestamp="2026-01-31T13:00:00+01:00",
        event_id="e1",
        recommendation_id="r1",
    )

    answer = await stocked.client.get(events_of("u"))

    assert answer.json() == {
        "events": [
            {
                "item_id": "a",
                "event_type": "rating",
                "timestamp": "2026-01-31T12:00:00Z",
                "rating": 2.5,
                "recommendation_id": "r1",
                "event_id": "e1",
            }
        ],
        "next_cursor": None,
    }


async def test_pages_are_newest_first_and_miss_nothing_at_equal_times(stocked):
    noon = "2026-01-31T12:00:00Z"
    await did(stocked, "u", *"abcde", timestamp=noon)
    await did(stocked, "u", "a", timestamp="2026-01-31T11:00:00Z")
    await did(stocked, "u", "b", timestamp="2026-01-31T12:30:00Z")
    await did(stocked, "w", "c", timestamp=noon)

    pages, cursor = [], None
    while True:
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await stocked.client.get(events_of("u"), params=query)).json()
        pages.append("".join(event["item_id"] for event in page["events"]))
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert pages == ["be", "dc", "ba", "a"]


async def test_events_that_arrive_between_two_pages_are_not_shown_twice(stocked):
    await did(stocked, "u", *"abc")
    first = (await stocked.client.get(events_of("u"), params={"limit": 2})).json()
    await did(stocked, "u", *"de")

    query = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await stocked.client.get(events_of("u"), params=query)).json()

    assert [event["item_id"] for event in first["events"]] == ["c", "b"]
    assert [event["item_id"] for event in second["events"]] == ["a"]


async def test_a_user_of_whom_nothing_is_known_has_no_events(client):
    assert (await client.get(events_of("nobody"))).json() == {"events": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "mine"}, "cursor"),
        ({"cursor": "YWZ0ZXI6NQ"}, "cursor"),
    ],
)
async def test_a_wrong_page_is_named(client, is_problem, query, field):
    is_problem(await client.get(events_of("u"), params=query), 422, field)


@pytest.mark.parametrize("user_id", ["a\x00b", " padded", "x" * 201])
async def test_an_id_that_no_user_can_have_is_named(client, is_problem, user_id):
    is_problem(await client.get(events_of(user_id)), 422, "user_id")
    is_problem(await client.delete(f"/v1/users/{quote(user_id, safe='')}"), 422, "user_id")


async def test_a_forgotten_user_has_no_history_and_others_keep_theirs(stocked, stand_ins):
    await did(stocked, "u", "a", "b")
    await did(stocked, "w", "c")

    answer = await stocked.client.delete("/v1/users/u")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await stocked.client.get(events_of("u"))).json()["events"] == []
    await stocked.client.post("/v1/recommendations", json={"user_id": "u"})
    assert stand_ins.ranking.requests[-1].history == []
    async with stocked.database.transaction() as session:
        users = (await session.execute(select(InteractionRow.user_id))).scalars()
        assert list(users) == ["w"]


async def test_a_user_of_whom_nothing_is_known_can_be_forgotten(client):
    assert (await client.delete("/v1/users/nobody")).status_code == 204


async def test_ids_may_hold_slashes_and_any_script(stocked):
    for user_id in ("guest/7/events", "訪客 7"):
        await did(stocked, user_id, "a")

        found = (await stocked.client.get(events_of(user_id))).json()["events"]
        assert [event["item_id"] for event in found] == ["a"]

        await stocked.client.delete(f"/v1/users/{quote(user_id, safe='')}")
        assert (await stocked.client.get(events_of(user_id))).json()["events"] == []


async def test_catalogues_do_not_meet(stocked):
    rival = await stocked.client_for("rival", Scope.ADMIN)
    await did(stocked, "u", "a")

    assert (await rival.get(events_of("u"))).json()["events"] == []
    await rival.delete("/v1/users/u")

    assert len((await stocked.client.get(events_of("u"))).json()["events"]) == 1
