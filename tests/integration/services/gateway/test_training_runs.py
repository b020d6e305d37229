from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.database.api_keys import Scope
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository, NewItem
from shared.database.training_runs import TrainingRunRepository
from shared.ingestion.item_content import item_content

pytestmark = pytest.mark.integration

PATH = "/v1/admin/trainings"
LEASE = timedelta(seconds=30)


async def end(gateway, run_id: str, state: str, stages=()) -> None:
    """As a worker would."""
    async with gateway.database.transaction() as session:
        runs = TrainingRunRepository(session)
        owned = await runs.acquire(UUID(run_id), lease=LEASE)
        await runs.finish(UUID(run_id), owned.lease_token, state=state, stages=list(stages))


async def run_that(gateway, state: str, body=None, stages=()) -> str:
    run_id: str = (await gateway.client.post(PATH, json=body or {})).json()["run_id"]
    await end(gateway, run_id, state, stages)
    return run_id


def measured(stage: str, seconds: float, **metrics: float) -> dict:
    return {
        "stage": stage,
        "done": 1,
        "total": 1,
        "metrics": metrics,
        "started_at": "2026-01-01T00:00:00Z",
        "seconds": seconds,
    }


async def fill(gateway, *, items: int, users: int) -> None:
    """Every user met the first three items, and there is one who met a single one."""
    async with gateway.database.transaction() as session:
        await ItemRepository(session, "shop").insert_many(
            [NewItem(f"item-{n}", item_content(title=f"Item {n}")) for n in range(items)],
            relay_after=timedelta(0),
        )
        at = datetime(2026, 1, 1, tzinfo=UTC)
        events = [
            NewInteraction(f"user-{user}", f"item-{item}", "view", at)
            for user in range(users)
            for item in range(3)
        ]
        events.append(NewInteraction("one-timer", "item-0", "view", at))
        events.append(NewInteraction("user-0", "no-such-item", "view", at))
        await InteractionRepository(session, "shop").add(events)


async def test_a_dry_run_starts_nothing_and_says_what_there_is(gateway):
    await fill(gateway, items=5, users=4)

    answer = await gateway.client.post(PATH, params={"dry_run": True}, json={})

    assert answer.status_code == 200
    assert answer.json() == {
        "items": 5,
        "users": 4,
        "interactions": 12,
        "items_to_embed": 5,
        "stages": None,
        "seconds": None,
        "derived_from": None,
    }
    assert (await gateway.client.get(PATH)).json()["trainings"] == []


async def test_an_estimate_is_the_last_measured_run_scaled_by_the_growth_since(gateway):
    await fill(gateway, items=8, users=4)
    stages = [
        measured("snapshot", 1.0, items=4, users=2, interactions=6),
        measured("embed", 3.0, already_stored=1),
        measured("collaborative", 5.0),
        measured("quantize", 7.0),
        measured("evaluate", 2.0),
    ]
    await run_that(gateway, "succeeded", stages=[{**stages[0], "seconds": None}])
    run_id = await run_that(gateway, "succeeded", stages=stages)
    await run_that(gateway, "failed", stages=[measured("snapshot", 100.0)])

    estimate = (await gateway.client.post(PATH, params={"dry_run": True}, json={})).json()

    seconds = {
        stage["stage"]: (stage["seconds"], stage["scaled_by"]) for stage in estimate["stages"]
    }
    assert seconds == {
        "snapshot": (2.0, "interactions"),
        "embed": (8.0, "items_to_embed"),
        "collaborative": (10.0, "interactions"),
        "quantize": (14.0, "items"),
        "evaluate": (4.0, "users"),
    }
    assert estimate["seconds"] == 38.0
    assert estimate["derived_from"]["run_id"] == run_id
    assert estimate["derived_from"]["items_embedded"] == 3


async def test_without_the_embedding_service_what_is_left_to_embed_is_not_known(gateway, stand_ins):
    await fill(gateway, items=2, users=1)
    stand_ins.embedding.is_down = True

    estimate = (await gateway.client.post(PATH, params={"dry_run": True}, json={})).json()

    assert (estimate["items"], estimate["items_to_embed"]) == (2, None)


async def test_a_dry_run_refuses_what_a_run_would(client, is_problem):
    answer = await client.post(PATH, params={"dry_run": True}, json={"ranker": {"epochs": 0}})
    is_problem(answer, 422, "ranker.epochs")


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_a_run_that_did_not_succeed_is_tried_again_with_its_request(gateway, state):
    former = await run_that(gateway, state, {"go_live": False, "seed": 3})

    answer = await gateway.client.post(f"{PATH}/{former}/retry")

    assert answer.status_code == 202
    run = answer.json()
    assert (run["state"], run["trigger"], run["retry_of"]) == ("queued", "retry", former)
    assert answer.headers["location"] == f"{PATH}/{run['run_id']}"
    async with gateway.database.transaction() as session:
        row = await TrainingRunRepository(session).get(UUID(run["run_id"]))
    assert (row.request["go_live"], row.request["seed"]) == (False, 3)


async def test_a_retry_stands_on_the_interactions_of_the_former_run(gateway):
    former = await run_that(gateway, "failed")
    async with gateway.database.transaction() as session:
        row = await TrainingRunRepository(session).get(UUID(former))
        row.last_interaction_id = 17

    retry = (await gateway.client.post(f"{PATH}/{former}/retry")).json()

    async with gateway.database.transaction() as session:
        row = await TrainingRunRepository(session).get(UUID(retry["run_id"]))
    assert row.last_interaction_id == 17


async def test_a_run_that_succeeded_or_goes_on_is_not_tried_again(gateway, is_problem):
    succeeded = await run_that(gateway, "succeeded")
    failed = await run_that(gateway, "failed")
    queued = (await gateway.client.post(PATH, json={})).json()["run_id"]

    is_problem(await gateway.client.post(f"{PATH}/{succeeded}/retry"), 409, cause="succeeded")
    is_problem(await gateway.client.post(f"{PATH}/{queued}/retry"), 409, cause="queued")
    is_problem(await gateway.client.post(f"{PATH}/{failed}/retry"), 409, cause=queued)


async def test_a_run_of_another_catalogue_cannot_be_tried_again(gateway, is_problem):
    former = await run_that(gateway, "failed")
    other = await gateway.client_for("other", Scope.ADMIN)
    is_problem(await other.post(f"{PATH}/{former}/retry"), 404)


async def test_runs_are_listed_by_state_and_page_by_page(gateway):
    ended = [
        await run_that(gateway, state)
        for state in ("failed", "succeeded", "failed", "cancelled", "failed")
    ]

    def ids(page) -> list[str]:
        return [run["run_id"] for run in page["trainings"]]

    everything, cursor = [], None
    while cursor is not None or not everything:
        params = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await gateway.client.get(PATH, params=params)).json()
        everything += ids(page)
        cursor = page["next_cursor"]
    assert everything == ended[::-1]
    failed = (await gateway.client.get(PATH, params={"state": "failed", "limit": 2})).json()
    assert ids(failed) == [ended[4], ended[2]]
    rest = (
        await gateway.client.get(PATH, params={"state": "failed", "cursor": failed["next_cursor"]})
    ).json()
    assert (ids(rest), rest["next_cursor"]) == ([ended[0]], None)


async def test_a_list_that_cannot_be_is_named(client, is_problem):
    is_problem(await client.get(PATH, params={"state": "lost"}), 422, "state")
    is_problem(await client.get(PATH, params={"cursor": "!"}), 422, "cursor")
    far_away = "YWZ0ZXI6OTk5OTk5OTk5OTk5OTk5OTk5"  # after:999999999999999999
    is_problem(await client.get(PATH, params={"cursor": far_away}), 422, "cursor")
