"""A broker that is away for a while, and forgets what it was told."""

import asyncio

import pytest

from infra.local.ports import choose_port
from infra.local.running import running
from infra.local.valkey import ValkeyServer
from services.training.celery_app import TRAIN_TASK, make_celery

pytestmark = pytest.mark.integration

OUTAGE_S = 20


@pytest.fixture
def broker(tmp_path) -> ValkeyServer:
    """Not running yet, and without a file: what it was told is lost when it stops."""
    server = ValkeyServer(tmp_path / "broker", choose_port(), append_only=False)
    server.prepare()
    return server


@pytest.fixture
def settings(settings, broker):
    redis = settings.redis.model_copy(update={"url": broker.url()})
    return settings.model_copy(update={"redis": redis})


async def test_runs_that_are_under_way_and_that_wait_outlive_the_broker(
    shop, settings, broker, stand_ins, training_process, eventually
):
    async def is_embedding() -> bool:
        stages = (await shop.training(under_way)).stages
        return bool(stages) and stages[-1]["stage"] == "embed"

    async def state(run_id) -> str:
        return (await shop.training(run_id)).state

    stand_ins.down.add("embedding")
    with running(broker):
        under_way = await shop.queue_run()
        with make_celery(settings) as celery:
            celery.send_task(TRAIN_TASK, [str(under_way)])
        training_process("worker")
        training_process("relay")
        await eventually(is_embedding)

    outage = asyncio.create_task(asyncio.sleep(OUTAGE_S))
    stand_ins.down.clear()

    async def has_succeeded_without_it() -> bool:
        return await state(under_way) == "succeeded"

    await eventually(has_succeeded_without_it)
    waiting = await shop.queue_run()  # nobody could be told of it
    await outage
    assert await state(waiting) == "queued"

    with running(broker):

        async def has_succeeded_after_it() -> bool:
            return await state(waiting) == "succeeded"

        await eventually(has_succeeded_after_it)
