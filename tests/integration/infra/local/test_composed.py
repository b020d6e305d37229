"""The platform as docker-compose.yml has it, its services as processes."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from infra.local.composed import Composed
from infra.local.supervisor import RestartPolicy, State, Supervisor
from shared.data.synthetic import SyntheticShop

pytestmark = pytest.mark.e2e

SHOP = SyntheticShop(seed=1, items=120, users=150)
TRAINING = {
    "collaborative": {"epochs": 2},
    "quantizer": {"epochs": 5},
    "ranker": {"epochs": 1},
}
STORES = {"postgres", "valkey", "s3"}
# What a client tries again: it says so itself, or nobody was there to say anything.
TRY_AGAIN = {429, 502, 503}
PATIENCE_S = 120


@pytest.fixture(scope="module")
def folder():
    """Not pytest's own, which other users cannot enter: the services run as one of them."""
    folder = Path(mkdtemp(prefix="mmesid-composed-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def lines(folder):
    """Takes what the processes write."""
    with (folder / "log").open("a", buffering=1) as log:
        yield lambda name, line: print(f"{name:<14} {line}", file=log)
    if os.environ.get("CI"):
        print((folder / "log").read_text(errors="replace")[-10_000:])


@pytest.fixture(scope="module")
async def composed(folder, lines):
    # The image for the CPU has no vLLM; here it may be installed, and would be tried.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKING_ENGINE", "transformers")
        composed = Composed(folder / "state")
    composed.prepare()
    quick = RestartPolicy(limit=3, first_pause_s=0.1)
    supervisor = Supervisor(composed.services(), on_line=lines, restarts=quick)
    try:
        await supervisor.start()
        yield composed, supervisor
    finally:
        await supervisor.stop()


@pytest.fixture(scope="module")
async def loaded(composed, folder):
    """What `docker compose run --rm load FOLDER` ended with."""
    data = folder / "shop"
    data.mkdir()
    items = [
        {"item_id": one.item_id, "title": one.title, "categories": list(one.categories)}
        for one in SHOP.items()
    ]
    events = [
        {"user_id": one.user_id, "item_id": one.item_id, "timestamp": one.timestamp.isoformat()}
        for one in SHOP.interactions()
    ]
    for name, rows in (("items", items), ("interactions", events)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data.chmod(0o755)
    platform, _ = composed
    return await asyncio.to_thread(
        platform.run, "load", str(data), "--training", json.dumps(TRAINING)
    )


@pytest.fixture(scope="module")
async def api(composed, loaded):
    platform, _ = composed
    scopes = [f"--scope={scope}" for scope in ("read", "write", "admin")]
    made = await asyncio.to_thread(
        platform.run, "gateway", "mmesid", "keys", "create", "--name=tests", *scopes
    )
    async with httpx.AsyncClient(
        base_url=platform.url("gateway"),
        headers={"authorization": f"Bearer {made.stdout.strip()}"},
        timeout=30,
    ) as client:
        yield client


@pytest.fixture
async def history(api):
    page = (await api.get("/v1/items", params={"limit": 3, "status": "ready"})).json()
    return [item["item_id"] for item in page["items"]]


async def persistently(call, answers: Counter) -> httpx.Response:
    """What a client with retries gets."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = await call()
        except httpx.TransportError as error:
            answers[type(error).__name__] += 1
            answer = None
        if answer is not None:
            answers[answer.status_code] += 1
            if answer.status_code not in TRY_AGAIN:
                return answer
        assert time.monotonic() < deadline, answers
        await asyncio.sleep(0.1)


async def test_one_command_loads_a_data_set_and_trains_on_it(loaded):
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert "is made" in loaded.stdout


async def test_bundles_lie_in_the_store_that_speaks_s3(composed, loaded):
    platform, _ = composed
    listed = await asyncio.to_thread(
        platform.run,
        "gateway",
        *("python", "-c"),
        "from shared.artifacts.store import ArtifactStore as Store;"
        "from shared.settings import load_settings;"
        "store = Store(load_settings().artifacts);"
        "print(store.is_local, len(store.list_folder('default/bundles')))",
    )
    assert listed.stdout.split() == ["False", "1"], listed.stderr


async def test_services_run_as_the_user_of_the_file(composed):
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of other users")
    _, supervisor = composed
    for name in ("gateway", "ranking", "worker-cpu"):
        assert Path(f"/proc/{supervisor.pids()[name]}").stat().st_uid == 10001


async def test_an_item_gets_its_semantic_ids_and_can_stand_in_a_history(api):
    item = await api.post("/v1/items", json={"item_id": "new", "title": "Blue Glass Bud Vase"})
    assert item.status_code == 201, item.text

    answer = await api.post("/v1/recommendations", json={"history": ["new"], "k": 5})

    assert answer.json()["unknown_items"] == []
    assert len(answer.json()["items"]) == 5


async def test_a_second_training_goes_live(api, history):
    started = await api.post("/v1/admin/trainings", json={**TRAINING, "seed": 3})
    assert started.status_code == 202, started.text
    run = f"/v1/admin/trainings/{started.json()['run_id']}"
    deadline = time.monotonic() + 600
    while (training := (await api.get(run)).json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, training
        await asyncio.sleep(0.5)
    assert training["state"] == "succeeded", training

    answer = (await api.post("/v1/recommendations", json={"history": history})).json()

    assert answer["bundle"] == training["bundle"]


async def test_every_service_can_be_restarted_without_a_lost_request(composed, api, history):
    _, supervisor = composed
    ours = [
        name
        for name, state in supervisor.states().items()
        if state is State.READY and name not in STORES
    ]
    answers: Counter = Counter()
    posted: list[str] = []
    restarted = asyncio.Event()

    async def post_items():
        while not restarted.is_set():
            item = {"item_id": f"while-restarting-{len(posted)}", "title": "A Vase"}
            answer = await persistently(lambda: api.post("/v1/items", json=item), answers)  # noqa: B023
            assert answer.status_code in (201, 202), answer.text
            posted.append(item["item_id"])

    async def ask_for_lists():
        request = {"history": history, "k": 5}
        while not restarted.is_set():
            answer = await persistently(
                lambda: api.post("/v1/recommendations", json=request), answers
            )
            assert len(answer.json()["items"]) == 5, answer.text
            await asyncio.sleep(0.05)

    async def restart_all():
        for name in ours:
            before = supervisor.pids()[name]
            os.kill(before, signal.SIGQUIT if name.startswith("worker") else signal.SIGTERM)
            while supervisor.pids().get(name, before) == before or (
                supervisor.states()[name] is not State.READY
            ):
                await asyncio.sleep(0.1)
        restarted.set()

    clients = [asyncio.create_task(work()) for work in (post_items, ask_for_lists, ask_for_lists)]
    await asyncio.wait_for(restart_all(), 600)
    await asyncio.gather(*clients)

    assert {"gateway", "relay", "embedding", "tokenization", "ranking", "worker-cpu"} <= {*ours}
    statuses = {answer for answer in answers if isinstance(answer, int)}
    assert statuses - TRY_AGAIN <= {200, 201, 202}, answers
    for item_id in posted:
        deadline = time.monotonic() + PATIENCE_S
        while (item := (await api.get(f"/v1/items/{item_id}")).json())["status"] != "ready":
            assert time.monotonic() < deadline, item
            await asyncio.sleep(0.1)
