import asyncio
import base64
import json

import pytest

from shared.database.api_keys import Scope
from shared.modeling.modality import Modality

pytestmark = pytest.mark.integration

MUG = {
    "item_id": "mug-0042",
    "title": "Stoneware mug, ocean blue",
    "description": "Holds 350 ml.",
    "categories": ["Kitchen", "Mugs"],
    "brand": "Nordlys",
    "attributes": {"colour": "blue", "price": 14.5, "microwave": True},
}


async def test_a_posted_item_is_ready_with_codes_of_every_modality(gateway, stand_ins, png):
    image = base64.b64encode(png).decode()

    answer = await gateway.client.post("/v1/items", json={**MUG, "image_base64": image})

    assert answer.status_code == 201
    item = answer.json()
    assert {name: item[name] for name in MUG} == MUG
    assert (item["status"], item["version"], item["bundle"]) == (
        "ready",
        1,
        "20260101T000000-test",
    )
    assert {name: len(codes) for name, codes in item["semantic_ids"].items()} == {
        modality.value: 4 for modality in Modality
    }
    assert item["imputed"] == ["collaborative"]
    assert item["image_sha256"]
    assert (await gateway.client.get("/v1/items/mug-0042")).json() == item
    assert "mug-0042" in stand_ins.tokenization.index["shop"]
    assert "mug-0042" in stand_ins.ranking.items["shop"]
    assert await gateway.outbox("mug-0042") == set()


async def test_a_form_with_a_file_is_the_same_item_as_json_with_base64(gateway, png):
    form = await gateway.client.post(
        "/v1/items",
        data={"item": json.dumps(MUG)},
        files={"image": ("mug.png", png, "image/png")},
    )
    repeated = await gateway.client.post(
        "/v1/items", json={**MUG, "image_base64": base64.b64encode(png).decode()}
    )

    assert form.status_code == 201
    assert repeated.status_code == 200
    assert repeated.json() == form.json()


async def test_an_item_without_an_id_gets_one(client):
    answer = await client.post("/v1/items", json={"title": "A mug"})

    assert answer.status_code == 201
    item_id = answer.json()["item_id"]
    assert (await client.get(f"/v1/items/{item_id}")).json()["title"] == "A mug"


async def test_the_same_item_again_changes_nothing(client, stand_ins):
    first = await client.post("/v1/items", json=MUG)
    again = await client.post(
        "/v1/items",
        json={**MUG, "attributes": {"microwave": True, "price": 14.5, "colour": "blue"}},
    )

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(stand_ins.embedding.requests) == 1


async def test_an_id_with_other_content_is_a_conflict(client, is_problem):
    await client.post("/v1/items", json=MUG)

    answer = await client.post("/v1/items", json={**MUG, "title": "Another mug"})

    is_problem(answer, 409, "item_id", "other content")
    assert (await client.get("/v1/items/mug-0042")).json()["title"] == MUG["title"]


async def test_posting_one_item_many_times_at_once_makes_one(client):
    answers = await asyncio.gather(*(client.post("/v1/items", json=MUG) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert {answer.json()["version"] for answer in answers} == {1}


async def test_while_the_embedding_service_is_down_items_wait_and_are_not_lost(gateway, stand_ins):
    stand_ins.embedding.is_down = True
    answer = await gateway.client.post("/v1/items", json=MUG)
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["semantic_ids"]) == ("pending", None)
    assert await gateway.outbox("mug-0042") == {"mug-0042"}

    stand_ins.embedding.is_down = False
    await gateway.relay("mug-0042")

    item = (await gateway.client.get("/v1/items/mug-0042")).json()
    assert item["status"] == "ready"
    assert len(item["semantic_ids"]) == 3
    assert await gateway.outbox("mug-0042") == set()


async def test_a_service_that_cannot_be_reached_is_no_error_of_the_item(start_gateway):
    gateway = await start_gateway(services={"embedding": "http://127.0.0.1:9"})

    answer = await gateway.client.post("/v1/items", json=MUG)

    assert answer.status_code == 202
    assert await gateway.outbox("mug-0042") == {"mug-0042"}


async def test_an_item_that_takes_too_long_is_answered_202(start_gateway, stand_ins):
    gateway = await start_gateway(gateway={"ready_wait_s": 0.2})
    stand_ins.embedding.delay_s = 1.0

    answer = await gateway.client.post("/v1/items", json=MUG)

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert await gateway.outbox("mug-0042") == {"mug-0042"}


async def test_without_a_live_bundle_items_are_accepted(start_gateway):
    gateway = await start_gateway(live=False)

    answer = await gateway.client.post("/v1/items", json=MUG)

    assert (answer.status_code, answer.json()["bundle"]) == (202, None)


async def test_an_item_that_can_never_be_ready_says_why(client):
    answer = await client.post("/v1/items", json={**MUG, "title": "This cannot be embedded"})

    assert answer.status_code == 201
    assert answer.json()["status"] == "failed"
    assert answer.json()["problem"]["type"] == "urn:mmesid:problem:broken-image"


async def test_a_changed_item_gets_a_new_version_and_new_codes(gateway, stand_ins):
    old = (await gateway.client.post("/v1/items", json=MUG)).json()

    answer = await gateway.client.patch("/v1/items/mug-0042", json={"title": "A red mug"})

    assert answer.status_code == 200
    new = answer.json()
    assert (new["version"], new["title"], new["brand"]) == (2, "A red mug", "Nordlys")
    assert new["semantic_ids"]["text"] != old["semantic_ids"]["text"]
    assert stand_ins.tokenization.index["shop"]["mug-0042"].version == 2
    assert answer.headers["etag"] == '"2"'


async def test_a_patch_that_changes_nothing_makes_no_version(client):
    await client.post("/v1/items", json=MUG)

    answer = await client.patch("/v1/items/mug-0042", json={"title": MUG["title"]})

    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_null_removes_the_brand_and_the_image(client, png):
    encoded = base64.b64encode(png).decode()
    await client.post("/v1/items", json={**MUG, "image_base64": encoded})

    kept = await client.patch("/v1/items/mug-0042", json={"brand": None})
    removed = await client.patch("/v1/items/mug-0042", json={"image_base64": None})

    assert (kept.json()["brand"], bool(kept.json()["image_sha256"])) == (None, True)
    assert removed.json()["image_sha256"] is None
    assert "visual" in removed.json()["imputed"]


async def test_an_older_version_never_overwrites_a_newer_one(gateway, stand_ins):
    stand_ins.embedding.delay_s = 0.5
    slow = asyncio.create_task(gateway.client.post("/v1/items", json=MUG))
    while not stand_ins.embedding.requests:
        await asyncio.sleep(0.01)
    stand_ins.embedding.delay_s = 0.0
    patched = await gateway.client.patch("/v1/items/mug-0042", json={"title": "Newer"})

    await slow

    item = (await gateway.client.get("/v1/items/mug-0042")).json()
    assert (item["version"], item["title"]) == (2, "Newer")
    assert item["semantic_ids"] == patched.json()["semantic_ids"]
    assert stand_ins.ranking.items["shop"]["mug-0042"].version == 2
    assert stand_ins.tokenization.index["shop"]["mug-0042"].version == 2


async def test_if_match_refuses_to_change_what_was_changed_meanwhile(client, is_problem):
    etag = (await client.post("/v1/items", json=MUG)).headers["etag"]
    first = await client.patch(
        "/v1/items/mug-0042", json={"title": "First"}, headers={"If-Match": etag}
    )

    second = await client.patch(
        "/v1/items/mug-0042", json={"title": "Second"}, headers={"If-Match": etag}
    )
    gone = await client.delete("/v1/items/mug-0042", headers={"If-Match": etag})
    nonsense = await client.delete("/v1/items/mug-0042", headers={"If-Match": "latest"})

    assert first.status_code == 200
    is_problem(second, 412, "If-Match", "version 2")
    is_problem(gone, 412, "If-Match")
    is_problem(nonsense, 422, "If-Match")


async def test_a_deleted_item_is_gone_and_its_id_is_free(gateway, stand_ins, is_problem):
    await gateway.client.post("/v1/items", json=MUG)

    deleted = await gateway.client.delete("/v1/items/mug-0042")

    assert deleted.status_code == 204
    is_problem(await gateway.client.get("/v1/items/mug-0042"), 404)
    is_problem(await gateway.client.delete("/v1/items/mug-0042"), 404)
    assert stand_ins.ranking.items["shop"] == {}
    again = await gateway.client.post("/v1/items", json={**MUG, "title": "Back again"})
    assert (again.status_code, again.json()["version"]) == (201, 3)


async def test_a_delete_while_services_are_down_is_kept_for_the_relay(gateway, stand_ins):
    await gateway.client.post("/v1/items", json=MUG)
    stand_ins.ranking.is_down = True

    assert (await gateway.client.delete("/v1/items/mug-0042")).status_code == 204

    assert await gateway.outbox("mug-0042") == {"mug-0042"}
    stand_ins.ranking.is_down = False
    await gateway.relay("mug-0042")
    assert stand_ins.ranking.items["shop"] == {}
    assert await gateway.outbox("mug-0042") == set()


async def test_pages_hold_every_item_once_in_the_order_of_arrival(client):
    ids = [f"item-{number}" for number in (3, 1, 4, 15, 9)]
    for item_id in ids:
        await client.post("/v1/items", json={"item_id": item_id, "title": item_id})

    seen, cursor = [], None
    while True:
        params = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await client.get("/v1/items", params=params)).json()
        seen += [item["item_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ids
    failed = await client.get("/v1/items", params={"status": "failed"})
    assert failed.json() == {"items": [], "next_cursor": None}


async def test_similar_items_have_titles_and_no_deleted_ones(gateway, stand_ins):
    for item_id in ("a", "b", "c"):
        await gateway.client.post(
            "/v1/items", json={"item_id": item_id, "title": f"Item {item_id}"}
        )
    stand_ins.tokenization.is_down = True  # so that the index still has it
    await gateway.client.delete("/v1/items/c")
    stand_ins.tokenization.is_down = False

    answer = await gateway.client.get("/v1/items/a/similar", params={"k": 5, "modality": "text"})

    assert answer.status_code == 200
    assert answer.json()["items"] == [{"item_id": "b", "title": "Item b", "similarity": 1.0}]
    assert stand_ins.tokenization.requests[-1] == ("similar", "a", Modality.TEXT)


async def test_similar_items_of_one_that_waits_or_does_not_exist(gateway, stand_ins, is_problem):
    stand_ins.embedding.is_down = True
    await gateway.client.post("/v1/items", json=MUG)

    is_problem(await gateway.client.get("/v1/items/mug-0042/similar"), 409, "item_id", "pending")
    is_problem(await gateway.client.get("/v1/items/unknown/similar"), 404)


async def test_ids_may_hold_slashes_and_letters_of_any_script(client):
    for path, item_id in (("a%2Fb%3Fc", "a/b?c"), ("%E8%8C%B6%20cup", "茶 cup")):
        created = await client.post("/v1/items", json={"item_id": item_id, "title": "Tea"})
        assert created.status_code == 201
        assert (await client.get(f"/v1/items/{path}")).json()["item_id"] == item_id
        assert (await client.get(f"/v1/items/{path}/similar")).status_code == 200


async def test_two_catalogues_with_one_item_id_never_meet(gateway, stand_ins, is_problem):
    other = await gateway.client_for("other", Scope.ADMIN)
    await gateway.go_live("other")
    await gateway.client.post("/v1/items", json={"item_id": "mug", "title": "Ours"})
    theirs = await other.post("/v1/items", json={"item_id": "mug", "title": "Theirs"})
    await gateway.client.post("/v1/items", json={"item_id": "only-ours", "title": "Only ours"})

    assert theirs.status_code == 201
    assert (await gateway.client.get("/v1/items/mug")).json()["title"] == "Ours"
    assert (await other.get("/v1/items/mug")).json()["title"] == "Theirs"
    is_problem(await other.get("/v1/items/only-ours"), 404)
    is_problem(await other.patch("/v1/items/only-ours", json={"title": "Taken"}), 404)
    is_problem(await other.delete("/v1/items/only-ours"), 404)
    is_problem(await other.get("/v1/items/only-ours/similar"), 404)
    listed = (await other.get("/v1/items")).json()["items"]
    assert [item["item_id"] for item in listed] == ["mug"]
    await other.delete("/v1/items/mug")
    assert (await gateway.client.get("/v1/items/mug")).status_code == 200
    assert "mug" in stand_ins.ranking.items["shop"]
    events = await other.post(
        "/v1/events", json={"events": [{"user_id": "u", "item_id": "only-ours"}]}
    )
    assert events.json()["accepted"] == 0
    recommended = await other.post("/v1/recommendations", json={"history": []})
    assert recommended.json()["items"] == []
