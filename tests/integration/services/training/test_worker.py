"""The Celery worker as a process of its own, with a real broker, whatever happens to it."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text

from services.training.celery_app import TRAIN_TASK, make_celery
from services.training.run import STAGES
from services.training.work_folder import WorkFolder
from shared.database.bundles import BundleRepository
from shared.database.training_log import TrainingLogRepository
from shared.database.training_runs import TrainingRunRepository

pytestmark = pytest.mark.integration

CATALOG = "shop"
NAMES = [stage.name for stage in STAGES]
# Stages that compute take a second or more, so that they are met while they do.
UNHURRIED = {
    "collaborative": {
        "dimension": 8, "feedforward": 8, "blocks": 1, "epochs": 100, "patience": 100,
    },
    "quantizer": {"hidden": 8, "codebook_size": 4, "epochs": 300, "max_steps": 300},
    "ranker": {
        "epochs": 40,
        "patience": 40,
        "checkpoint_every": 1,
        "tiny": {"hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 1},
    },
}  # fmt: skip
# The others wait for a table that is locked, or for a service that is away.
TABLE_READ_IN = {"snapshot": "items", "evaluate": "bundles"}
SERVICE_CALLED_IN = {"embed": "embedding", "publish": "ranking"}
LONG = {**UNHURRIED["collaborative"], "epochs": 10**6, "patience": 10**6}


@pytest.fixture
def settings(settings):
    """A short lease, so that a killed owner is replaced soon."""
    training = settings.training.model_copy(update={"lease_s": 2.0})
    return settings.model_copy(update={"training": training})


@pytest.fixture
def send(settings) -> Callable[[UUID], None]:
    def send_task(run_id: UUID) -> None:
        with make_celery(settings) as celery:
            celery.send_task(TRAIN_TASK, [str(run_id)])

    return send_task


@pytest.fixture
def is_over(shop, eventually) -> Callable[[UUID], Awaitable]:
    """Waits for a run's end, and gives its row."""

    async def wait(run_id: UUID):
        async def has_finished() -> bool:
            return (await shop.training(run_id)).finished_at is not None

        await eventually(has_finished)
        return await shop.training(run_id)

    return wait


@pytest.fixture
def is_abandoned(resources, eventually) -> Callable[[UUID], Awaitable[None]]:
    """Waits until the lease of a run's owner is over."""

    async def wait(run_id: UUID) -> None:
        async def has_no_owner() -> bool:
            async with resources.database.transaction() as session:
                return run_id in await TrainingRunRepository(session).abandoned()

        await eventually(has_no_owner)

    return wait


@pytest.fixture
def held_in(shop, resources, stand_ins, eventually):
    """`async with held_in(stage, run_id):` a worker is in the middle of that stage."""

    @asynccontextmanager
    async def hold(stage: str, run_id: UUID) -> AsyncIterator[None]:
        async def is_there() -> bool:
            # Seen at once in the files; the database hears of it with the next heartbeat.
            if stage not in resources.store.list_folder(f"{CATALOG}/runs/{run_id}"):
                return False
            shown = (await shop.training(run_id)).stages
            # A bundle is on record once three of the steps of publishing are done.
            return stage != "publish" or (shown[-1]["stage"] == stage and shown[-1]["done"] >= 3)

        if stage in SERVICE_CALLED_IN:
            stand_ins.down.add(SERVICE_CALLED_IN[stage])
        async with resources.database.engine.connect() as connection:
            if stage in TABLE_READ_IN:
                table = TABLE_READ_IN[stage]
                await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            await eventually(is_there)
            yield
        stand_ins.down.clear()

    return hold


@pytest.fixture
def bundles(resources):
    async def states() -> dict[str, str]:
        async with resources.database.transaction() as session:
            rows = await BundleRepository(session, CATALOG).all()
        return {row.version: row.state for row in rows}

    return states


async def test_a_worker_takes_a_run_from_its_queue_cleans_up_and_leaves_when_told(
    shop, resources, send, training_process, is_over, eventually
):
    run_id = await shop.queue_run()
    send(run_id)
    worker = training_process("worker", "--queues", "cpu,sync")

    training = await is_over(run_id)
    assert (training.state, training.problem) == ("succeeded", None)

    async def is_clean() -> bool:
        return resources.store.list_folder(f"{CATALOG}/runs") == []

    await eventually(is_clean)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    async with resources.database.transaction() as session:
        lines = await TrainingLogRepository(session, run_id).after(0, limit=1000)
    begun = [line.fields["stage"] for line in lines if line.event == "stage begins"]
    assert begun == NAMES
    assert (lines[0].event, lines[-1].event) == ("run taken up", "run over")


async def test_a_worker_told_to_quit_does_not_wait_for_its_run_to_end(
    shop, send, training_process, eventually
):
    run_id = await shop.queue_run(collaborative=LONG)
    send(run_id)
    worker = training_process("worker")

    async def is_training() -> bool:
        return len((await shop.training(run_id)).stages) > 1

    await eventually(is_training)
    worker.send_signal(signal.SIGQUIT)
    worker.wait(timeout=60)
    training = await shop.training(run_id)
    assert (training.state, training.finished_at) == ("running", None)


async def test_a_run_whose_worker_is_killed_in_every_stage_ends_well_with_one_bundle(
    shop, resources, send, training_process, crash, held_in, is_abandoned, is_over, bundles
):
    run_id = await shop.queue_run(**UNHURRIED)
    work = WorkFolder(resources.store, CATALOG, run_id)
    for stage in NAMES:
        worker = training_process("worker")
        send(run_id)
        async with held_in(stage, run_id):
            crash(worker)
        assert work.completed(stage) is None
        await is_abandoned(run_id)
    training_process("relay")
    training_process("worker")

    training = await is_over(run_id)
    assert (training.state, training.problem) == ("succeeded", None)
    assert training.lease_token == len(NAMES) + 1
    assert [stage["stage"] for stage in training.stages] == NAMES
    assert await bundles() == {training.bundle: "live"}
    assert resources.store.list_folder(f"{CATALOG}/bundles") == [training.bundle]


async def test_a_run_is_cancelled_in_every_stage_and_each_retry_goes_on_from_there(
    shop, resources, send, training_process, held_in, is_over, bundles, stand_ins
):
    # What tidies up after a run reads tables that are locked here.
    training_process("worker", "--queues", "cpu")
    run_id = await shop.queue_run(**UNHURRIED)
    for stage in NAMES:
        send(run_id)
        async with held_in(stage, run_id), resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            await runs.request_cancel(await runs.get(run_id))
        cancelled = await is_over(run_id)
        assert (cancelled.state, cancelled.bundle) == ("cancelled", None)
        assert [shown["stage"] for shown in cancelled.stages] == NAMES[: NAMES.index(stage) + 1]
        assert "live" not in (await bundles()).values()
        run_id = await shop.retry(cancelled)
    assert stand_ins.activated == []
    send(run_id)

    training = await is_over(run_id)
    assert (training.state, training.problem) == ("succeeded", None)
    assert (await bundles())[training.bundle] == "live"
    kept = NAMES.index("evaluate")
    assert training.stages[:kept] == cancelled.stages[:kept]


async def test_a_paused_worker_that_wakes_up_after_its_lease_cannot_publish(
    shop, resources, send, training_process, held_in, is_abandoned, is_over, eventually, bundles,
    stand_ins,
):  # fmt: skip
    run_id = await shop.queue_run()
    send(run_id)
    paused = training_process("worker")
    async with held_in("publish", run_id):
        os.killpg(paused.pid, signal.SIGSTOP)
        await is_abandoned(run_id)
        training_process("worker")
        send(run_id)

        async def has_a_new_owner() -> bool:
            return (await shop.training(run_id)).lease_token == 2

        await eventually(has_a_new_owner)
    training = await is_over(run_id)
    os.killpg(paused.pid, signal.SIGCONT)

    async def has_given_up() -> bool:
        async with resources.database.transaction() as session:
            lines = await TrainingLogRepository(session, run_id).after(0, limit=1000)
        return any(line.event.startswith("lease lost") for line in lines)

    await eventually(has_given_up)
    assert (training.state, training.problem) == ("succeeded", None)
    assert await bundles() == {training.bundle: "live"}
    assert resources.store.list_folder(f"{CATALOG}/bundles") == [training.bundle]
    assert sorted(stand_ins.activated) == [
        ("ranking", training.bundle),
        ("tokenization", training.bundle),
    ]
    after = await shop.training(run_id)
    assert (after.lease_token, after.finished_at) == (2, training.finished_at)
