"""The Celery worker as a process of its own, with a real broker."""

import signal

import pytest

from services.training.celery_app import QUEUE, TRAIN_TASK, make_celery

pytestmark = pytest.mark.integration

LONG = {"dimension": 8, "feedforward": 8, "blocks": 1, "epochs": 10**6, "patience": 10**6}
SHORT = {**LONG, "epochs": 2}


@pytest.fixture
def settings(settings):
    """A short lease, so that a killed owner is replaced soon."""
    training = settings.training.model_copy(update={"lease_s": 2.0})
    return settings.model_copy(update={"training": training})


def send(settings, run_id) -> None:
    with make_celery(settings) as celery:
        celery.send_task(TRAIN_TASK, [str(run_id)], queue=QUEUE)


async def test_a_worker_takes_a_run_from_the_queue_and_leaves_when_told(
    shop, settings, training_process, eventually
):
    run_id = await shop.queue_run()
    send(settings, run_id)
    worker = training_process("worker")

    async def is_over() -> bool:
        return (await shop.training(run_id)).finished_at is not None

    await eventually(is_over)
    assert (await shop.training(run_id)).state == "succeeded"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0


async def test_a_worker_told_to_quit_does_not_wait_for_its_run_to_end(
    shop, settings, training_process, eventually
):
    run_id = await shop.queue_run(collaborative=LONG)
    send(settings, run_id)
    worker = training_process("worker")

    async def is_training() -> bool:
        return len((await shop.training(run_id)).stages) > 1

    await eventually(is_training)
    worker.send_signal(signal.SIGQUIT)
    worker.wait(timeout=30)
    training = await shop.training(run_id)
    assert (training.state, training.finished_at) == ("running", None)


async def test_a_run_whose_worker_was_killed_is_finished_by_another(
    shop, resources, settings, training_process, crash, eventually
):
    run_id = await shop.queue_run(collaborative=LONG)
    send(settings, run_id)
    first = training_process("worker")

    async def is_training() -> bool:
        stages = (await shop.training(run_id)).stages
        return any(row["stage"] == "collaborative" and row["done"] > 3 for row in stages)

    await eventually(is_training)
    crash(first)
    async with resources.database.transaction() as session:
        row = await session.merge(await shop.training(run_id))
        row.request = {**row.request, "collaborative": SHORT}
    training_process("relay")
    training_process("worker")

    async def is_over() -> bool:
        return (await shop.training(run_id)).finished_at is not None

    await eventually(is_over)
    training = await shop.training(run_id)
    assert (training.state, training.problem) == ("succeeded", None)
    assert training.lease_token == 2
