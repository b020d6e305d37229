import asyncio

import pytest

from shared.database.api_keys import Scope
from shared.database.semantic_ids import SemanticIdRepository

OLD, NEW, OTHER = "20260101T000000-test", "20260102T000000-next", "20260103T000000-other"
BUNDLES = "/v1/admin/bundles"

pytestmark = pytest.mark.integration


def activate(gateway, version, **body):
    return gateway.client.post(f"{BUNDLES}/{version}/activate", json=body)


async def test_a_bundle_is_loaded_beside_the_live_one_and_then_served(gateway, stand_ins):
    await gateway.publish(NEW)

    answer = await gateway.client.post(f"{BUNDLES}/{NEW}/activate")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["version"], answer.json()["state"]) == (NEW, "live")
    assert await gateway.states() == {NEW: "live", OLD: "retired"}
    for service in (stand_ins.tokenization, stand_ins.ranking):
        assert service.requests == [("load", NEW), ("activate", NEW)]


async def test_items_that_came_since_the_bundle_was_made_are_caught_up_before(gateway, stand_ins):
    await gateway.client.post("/v1/items", json={"item_id": "mug", "title": "A mug"})
    await gateway.publish(NEW)
    stand_ins.ranking.requests.clear()

    assert (await activate(gateway, NEW)).status_code == 200

    put = stand_ins.ranking.requests[1]
    assert (put.bundle, [item.item_id for item in put.items]) == (NEW, ["mug"])
    async with gateway.database.transaction() as session:
        assert "mug" in await SemanticIdRepository(session, "shop").of_items(NEW, ["mug"])
    item = (await gateway.client.get("/v1/items/mug")).json()
    assert (item["status"], item["bundle"]) == ("ready", NEW)


async def test_a_bundle_whose_gates_failed_is_refused_unless_forced(gateway, is_problem, stand_ins):
    await gateway.publish(NEW, failed_gates=["ranking", "tau-text"])

    refused = await activate(gateway, NEW)

    is_problem(refused, 409, cause="ranking: it is too bad; tau-text: it is too bad")
    assert refused.json()["type"] == "urn:mmesid:problem:gate-failed"
    assert stand_ins.ranking.requests == []
    assert (await activate(gateway, NEW, force=True)).status_code == 200
    assert await gateway.states() == {NEW: "live", OLD: "retired"}
    assert (await activate(gateway, NEW)).status_code == 200  # it is live already


async def test_a_rollback_goes_to_the_bundle_that_was_live_before(gateway, stand_ins):
    await gateway.publish(NEW)
    await gateway.publish(OTHER)
    await activate(gateway, OTHER)
    await activate(gateway, NEW)

    answer = await gateway.client.post(f"{BUNDLES}/rollback")

    assert (answer.status_code, answer.json()["version"]) == (200, OTHER)
    assert await gateway.states() == {OTHER: "live", NEW: "retired", OLD: "retired"}
    assert stand_ins.ranking.active == stand_ins.tokenization.active == {"shop": OTHER}


async def test_without_a_bundle_before_there_is_nothing_to_go_back_to(gateway, is_problem):
    await gateway.publish(NEW)

    is_problem(await gateway.client.post(f"{BUNDLES}/rollback"), 409, cause="live before")
    assert await gateway.states() == {NEW: "published", OLD: "live"}


async def at_once(service, *requests):
    """The answers of requests of which none is loaded before all were checked."""
    service.gate.clear()
    tasks = [asyncio.create_task(request) for request in requests]
    while len(service.requests) < len(requests):
        await asyncio.sleep(0.01)
    service.gate.set()
    return await asyncio.gather(*tasks)


async def test_of_two_activations_at_once_one_is_told_of_the_other(gateway, stand_ins, is_problem):
    await gateway.publish(NEW)
    await gateway.publish(OTHER)

    answers = await at_once(
        stand_ins.tokenization, activate(gateway, NEW), activate(gateway, OTHER)
    )

    (won,) = [answer for answer in answers if answer.status_code == 200]
    (lost,) = [answer for answer in answers if answer is not won]
    is_problem(lost, 409, cause=f"{won.json()['version']} went live meanwhile")
    states = await gateway.states()
    assert [version for version, state in states.items() if state == "live"] == [
        won.json()["version"]
    ]
    assert sorted(states.values()) == ["live", "published", "retired"]


async def test_two_rollbacks_at_once_are_one(gateway, stand_ins):
    await gateway.publish(NEW)
    await activate(gateway, NEW)
    stand_ins.tokenization.requests.clear()

    answers = await at_once(
        stand_ins.tokenization,
        gateway.client.post(f"{BUNDLES}/rollback"),
        gateway.client.post(f"{BUNDLES}/rollback"),
    )

    assert [answer.json()["version"] for answer in answers] == [OLD, OLD]
    assert await gateway.states() == {OLD: "live", NEW: "retired"}


async def test_a_service_that_is_away_leaves_the_live_bundle_live(gateway, stand_ins, is_problem):
    await gateway.publish(NEW)
    stand_ins.ranking.is_down = True

    is_problem(await activate(gateway, NEW), 503)

    assert await gateway.states() == {NEW: "published", OLD: "live"}


async def test_wrong_requests_are_named(gateway, is_problem):
    is_problem(await activate(gateway, "no-such-bundle"), 404, cause="no-such-bundle")
    is_problem(await activate(gateway, "%20"), 422, "version")
    is_problem(await activate(gateway, OLD, force="perhaps"), 422, "force")
    other = await gateway.client_for("other", Scope.ADMIN)
    is_problem(await other.post(f"{BUNDLES}/{OLD}/activate"), 404)
    reader = await gateway.client_for("shop", Scope.READ)
    is_problem(await reader.post(f"{BUNDLES}/{OLD}/activate"), 403)
    is_problem(await reader.post(f"{BUNDLES}/rollback"), 403)
