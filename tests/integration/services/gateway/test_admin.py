import asyncio
import base64
import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import redis

from shared.database.api_keys import Scope
from shared.database.training_runs import TrainingRunRepository

pytestmark = pytest.mark.integration

PATH = "/v1/admin/trainings"


async def test_a_training_is_queued_and_the_workers_are_told(gateway, redis_url):
    answer = await gateway.client.post(PATH, json={"go_live": False, "seed": 3})

    assert answer.status_code == 202
    run = answer.json()
    assert (run["state"], run["stages"], run["bundle"]) == ("queued", [], None)
    assert answer.headers["location"] == f"{PATH}/{run['run_id']}"
    with redis.Redis.from_url(redis_url) as broker:
        message = json.loads(broker.lpop("cpu"))
    assert message["headers"]["task"] == "mmesid.train"
    assert json.loads(base64.b64decode(message["body"]))[0] == [run["run_id"]]
    async with gateway.database.transaction() as session:
        row = await TrainingRunRepository(session).get(UUID(run["run_id"]))
    assert (row.catalog_id, row.request["seed"], row.request["go_live"]) == ("shop", 3, False)


async def test_a_training_is_queued_for_the_workers_that_the_settings_name(
    start_gateway, redis_url
):
    gateway = await start_gateway(training={"queue": "gpu"})
    await gateway.client.post(PATH, json={})
    with redis.Redis.from_url(redis_url) as broker:
        assert (broker.llen("cpu"), broker.llen("gpu")) == (0, 1)


async def test_a_training_is_queued_even_while_redis_is_down(start_gateway):
    gateway = await start_gateway(redis={"url": "redis://127.0.0.1:9/0"})

    answer = await gateway.client.post(PATH, json={})

    assert answer.status_code == 202
    assert (await gateway.client.get(PATH)).json()["trainings"] == [answer.json()]


async def test_a_catalogue_trains_once_at_a_time(gateway, is_problem):
    first = (await gateway.client.post(PATH, json={})).json()

    second = await gateway.client.post(PATH, json={})

    is_problem(second, 409, cause=f"{first['run_id']} is queued")
    other = await gateway.client_for("other", Scope.ADMIN)
    assert (await other.post(PATH, json={})).status_code == 202


async def test_of_two_that_are_posted_at_once_one_is_refused_and_names_the_other(
    gateway, is_problem
):
    answers = await asyncio.gather(*(gateway.client.post(PATH, json={}) for _ in range(2)))

    accepted, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert accepted.status_code == 202
    is_problem(refused, 409, cause=accepted.json()["run_id"])
    assert len((await gateway.client.get(PATH)).json()["trainings"]) == 1


async def test_progress_is_shown_and_a_running_one_is_asked_to_stop(gateway):
    run_id = (await gateway.client.post(PATH, json={})).json()["run_id"]
    stages = [{"stage": "quantize", "done": 3, "total": 10, "metrics": {"loss": 0.5}}]
    async with gateway.database.transaction() as session:
        runs = TrainingRunRepository(session)
        owned = await runs.acquire(UUID(run_id), lease=timedelta(seconds=30))
        await runs.heartbeat(
            UUID(run_id), owned.lease_token, lease=timedelta(seconds=30), stages=stages
        )

    shown = (await gateway.client.get(f"{PATH}/{run_id}")).json()
    cancelled = await gateway.client.post(f"{PATH}/{run_id}/cancel")

    assert shown["state"] == "running"
    assert shown["stages"] == [{**stages[0], "started_at": None, "seconds": None}]
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "running")
    async with gateway.database.transaction() as session:
        row = await TrainingRunRepository(session).get(UUID(run_id))
    assert row.cancel_requested


async def test_a_queued_one_is_cancelled_at_once_and_only_once(gateway, is_problem):
    run_id = (await gateway.client.post(PATH, json={})).json()["run_id"]

    cancelled = await gateway.client.post(f"{PATH}/{run_id}/cancel")

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    is_problem(await gateway.client.post(f"{PATH}/{run_id}/cancel"), 409, cause="cancelled")
    assert (await gateway.client.post(PATH, json={})).status_code == 202


async def test_trainings_of_another_catalogue_cannot_be_seen(gateway, is_problem):
    run_id = (await gateway.client.post(PATH, json={})).json()["run_id"]
    other = await gateway.client_for("other", Scope.ADMIN)

    is_problem(await other.get(f"{PATH}/{run_id}"), 404)
    is_problem(await other.post(f"{PATH}/{run_id}/cancel"), 404)
    assert (await other.get(PATH)).json() == {"trainings": [], "next_cursor": None}
    assert (await other.get("/v1/admin/bundles")).json() == {"bundles": []}


async def test_wrong_requests_about_trainings_are_named(client, is_problem):
    is_problem(await client.get(f"{PATH}/{uuid4()}"), 404)
    is_problem(await client.get(f"{PATH}/no-uuid"), 422, "run_id")
    is_problem(await client.post(PATH, json={"seed": -1}), 422, "seed")
    is_problem(await client.post(PATH, json={"epochs": 3}), 422, "epochs")
    is_problem(await client.post(PATH, json={"start": "hot"}), 422, "start")
    is_problem(await client.post(PATH, json={"stages": ["quantize"]}), 422, "stages")
    is_problem(await client.post(PATH, json={"stages": ["finetune", "fly"]}), 422, "stages.1")
    is_problem(await client.post(PATH, json={"ranker": {"a": "\x00"}}), 422, "ranker.a")
    is_problem(await client.get(PATH, params={"limit": 0}), 422, "limit")


@pytest.mark.parametrize(
    ("request_fields", "field", "cause"),
    [
        ({"ranker": {"epochs": 0}}, "ranker.epochs", "at least 1"),
        ({"ranker": {"lora": {"rank": 0}}}, "ranker.lora.rank", "at least 1"),
        ({"ranker": {"tiny": {"heads": 0}}}, "ranker.tiny.heads", "at least 1"),
        ({"ranker": {"base_dtype": ["float32"]}}, "ranker.base_dtype", "none of"),
        ({"collaborative": {"dimensions": 64}}, "collaborative.dimensions", "no setting"),
        ({"quantizer": {"kind": "vq"}}, "quantizer.kind", "mm_rq_vae"),
    ],
)
async def test_a_setting_that_no_worker_could_train_with_is_refused_at_once(
    client, is_problem, request_fields, field, cause
):
    is_problem(await client.post(PATH, json=request_fields), 422, field, cause)
    assert (await client.get(PATH)).json()["trainings"] == []


async def test_bundles_are_listed_newest_first(gateway):
    await gateway.go_live("shop", "20260102T000000-next")

    bundles = (await gateway.client.get("/v1/admin/bundles")).json()["bundles"]

    assert [(bundle["version"], bundle["state"]) for bundle in bundles] == [
        ("20260102T000000-next", "live"),
        ("20260101T000000-test", "retired"),
    ]
    assert (bundles[0]["items"], bundles[0]["metrics"]) == (3, {"ndcg@10": 0.1})
    assert bundles[0]["gates"] == [
        {"name": "smoke", "passed": True, "explanation": "all well", "figures": {}}
    ]
