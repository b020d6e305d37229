"""The platform as its user meets it: every service a process of its own, real stores, real HTTP."""

import asyncio
import base64
import time
from collections import Counter

import httpx
import pytest

pytestmark = pytest.mark.e2e

MODALITIES = {"collaborative", "text", "visual"}


@pytest.fixture
async def new_item(api, held_out_item):
    """A new item with an image, posted; deleted again afterwards."""
    answer = await api.post("/v1/items", json=held_out_item)
    yield answer
    await api.delete(f"/v1/items/{held_out_item['item_id']}")


async def eventually(check, *, within_s: float):
    """The first truthy answer of `check`, or the last one when the time is over."""
    deadline = time.monotonic() + within_s
    while not (answer := await check()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return answer


async def test_a_posted_item_gets_four_codes_in_each_of_three_modalities(new_item):
    assert new_item.status_code == 201, new_item.text
    item = new_item.json()
    assert item["status"] == "ready"
    assert set(item["semantic_ids"]) == MODALITIES
    assert {len(codes) for codes in item["semantic_ids"].values()} == {4}
    assert item["imputed"] == ["collaborative"]


async def test_the_first_bundle_gave_every_imported_item_its_semantic_ids(api, platform):
    counts = Counter()
    cursor = None
    while True:
        params = {"limit": 500} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/items", params=params)).json()
        counts.update(item["status"] for item in page["items"])
        assert all(set(item["semantic_ids"]) == MODALITIES for item in page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert counts == {"ready": platform.number_of_items}


async def test_a_new_item_is_similar_to_others_within_five_seconds(api, new_item):
    item_id = new_item.json()["item_id"]
    nearest = (await api.get(f"/v1/items/{item_id}/similar", params={"k": 5})).json()["items"]
    assert len(nearest) == 5
    assert item_id not in {item["item_id"] for item in nearest}

    async def is_found():
        # Similarity is mutual, yet a near item may have many nearer ones: look far.
        answer = await api.get(f"/v1/items/{nearest[0]['item_id']}/similar", params={"k": 100})
        return item_id in {item["item_id"] for item in answer.json()["items"]}

    assert await eventually(is_found, within_s=5)


async def test_a_new_item_can_be_recommended_within_five_seconds(api, new_item, known_items):
    item_id = new_item.json()["item_id"]

    async def is_recommended():
        answer = await api.post(
            "/v1/recommendations",
            json={"history": known_items[:3], "k": 1, "filter": {"allow": [item_id]}},
        )
        return [item["item_id"] for item in answer.json()["items"]] == [item_id]

    assert await eventually(is_recommended, within_s=5)


async def test_lists_are_ranked_by_the_engine_that_the_platform_was_started_with(
    api, platform, known_items
):
    answer = (await api.post("/v1/recommendations", json={"history": known_items[:3]})).json()

    assert answer["engine"] == platform.engine
    assert answer["source"] == "ranker"
    assert f"Ranked by {platform.engine}" in platform.status()


async def test_a_new_item_can_stand_in_a_history(api, new_item):
    item_id = new_item.json()["item_id"]

    answer = (await api.post("/v1/recommendations", json={"history": [item_id], "k": 5})).json()

    assert answer["unknown_items"] == []
    assert answer["source"] == "ranker"
    assert len(answer["items"]) == 5


async def test_recommendations_are_distinct_unseen_and_sorted(api, known_items):
    history = known_items[:7]

    answer = (await api.post("/v1/recommendations", json={"history": history, "k": 20})).json()

    recommended = [item["item_id"] for item in answer["items"]]
    scores = [item["score"] for item in answer["items"]]
    assert len(recommended) == len(set(recommended)) == 20
    assert not set(recommended) & set(history)
    assert scores == sorted(scores, reverse=True)
    assert all(item["title"] for item in answer["items"])


async def test_the_parts_of_a_score_sum_to_it(api, known_items):
    answer = (await api.post("/v1/recommendations", json={"history": known_items[:4]})).json()

    for item in answer["items"]:
        assert sum(item["shares"].values()) == pytest.approx(item["score"], rel=1e-3, abs=1e-3)


async def test_events_make_the_history_of_a_user(api, known_items):
    events = [{"user_id": "someone new", "item_id": item} for item in known_items[10:14]]
    stored = await api.post("/v1/events", json={"events": events})
    assert stored.json()["accepted"] == 4

    by_user = (await api.post("/v1/recommendations", json={"user_id": "someone new"})).json()
    by_history = (
        await api.post("/v1/recommendations", json={"history": known_items[10:14]})
    ).json()

    def ids(answer):
        return [item["item_id"] for item in answer["items"]]

    assert ids(by_user) == ids(by_history)


async def test_an_empty_history_gets_popular_items_and_says_so(api):
    answer = (await api.post("/v1/recommendations", json={"history": [], "k": 5})).json()

    assert answer["source"] == "popularity"
    assert len(answer["items"]) == 5


async def test_unknown_items_of_a_history_are_reported_and_ignored(api, known_items):
    history = [known_items[0], "no such item"]
    answer = (await api.post("/v1/recommendations", json={"history": history})).json()

    assert answer["unknown_items"] == ["no such item"]
    assert len(answer["items"]) == 10

    refused = await api.post("/v1/recommendations", json={"history": ["no such item"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].startswith("history")


async def test_a_deleted_item_is_never_recommended(api, held_out_item, known_items):
    item_id = (await api.post("/v1/items", json=held_out_item)).json()["item_id"]
    assert (await api.delete(f"/v1/items/{item_id}")).status_code == 204

    assert (await api.get(f"/v1/items/{item_id}")).status_code == 404
    answer = await api.post(
        "/v1/recommendations",
        json={"history": known_items[:3], "k": 5, "filter": {"allow": [item_id]}},
    )
    assert answer.json()["items"] == []


async def test_an_image_can_be_posted_as_a_file(api, held_out_item):
    fields = {name: value for name, value in held_out_item.items() if name != "image_base64"}
    answer = await api.post(
        "/v1/items",
        files={
            "item": (None, httpx.Request("POST", "http://x", json=fields).content),
            "image": ("photo.png", base64.b64decode(held_out_item["image_base64"])),
        },
    )

    assert answer.status_code == 201, answer.text
    assert answer.json()["imputed"] == ["collaborative"]
    await api.delete(f"/v1/items/{answer.json()['item_id']}")


async def test_a_training_goes_live_and_no_request_fails_meanwhile(api, platform, known_items):
    before = (await api.post("/v1/recommendations", json={"history": known_items[:3]})).json()
    training = await api.post("/v1/admin/trainings", json=platform.training_request | {"seed": 7})
    assert training.status_code == 202, training.text
    run = f"/v1/admin/trainings/{training.json()['run_id']}"
    failed = []
    bundles = Counter()

    async def keep_asking(until: asyncio.Event):
        while not until.is_set():
            answer = await api.post(
                "/v1/recommendations", json={"history": known_items[:3], "k": 5}
            )
            if answer.status_code != 200 or len(answer.json()["items"]) != 5:
                failed.append(answer.text)
            else:
                bundles[answer.json()["bundle"]] += 1
            await asyncio.sleep(0.2)

    done = asyncio.Event()
    asking = asyncio.create_task(keep_asking(done))

    async def is_finished():
        state = (await api.get(run)).json()
        return state if state["state"] not in ("queued", "running") else None

    state = await eventually(is_finished, within_s=400)
    assert state is not None
    assert state["state"] == "succeeded", state

    async def serves_the_new_one():
        return bundles[state["bundle"]] > 0

    assert await eventually(serves_the_new_one, within_s=10)
    done.set()
    await asking
    assert failed == []
    assert set(bundles) == {before["bundle"], state["bundle"]}
    live = [
        bundle["version"]
        for bundle in (await api.get("/v1/admin/bundles")).json()["bundles"]
        if bundle["state"] == "live"
    ]
    assert live == [state["bundle"]]
