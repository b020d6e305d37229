import subprocess
import sys

import pytest

from services.training.celery_app import (
    CLEAN_UP_TASK,
    EMBED_CHUNK_TASK,
    TRAIN_TASK,
    make_celery,
)
from shared.settings import Settings, TrainingSettings


@pytest.mark.parametrize("queue", ["cpu", "gpu"])
def test_trainings_go_where_the_settings_say_backfills_to_cpu_and_the_rest_to_sync(queue):
    app = make_celery(Settings(training=TrainingSettings(queue=queue)))
    routed = {
        task: app.amqp.router.route({}, task)["queue"].name
        for task in (TRAIN_TASK, EMBED_CHUNK_TASK, CLEAN_UP_TASK)
    }
    assert routed == {TRAIN_TASK: queue, EMBED_CHUNK_TASK: "cpu", CLEAN_UP_TASK: "sync"}


def test_a_message_is_acknowledged_before_its_task_and_taken_only_by_a_free_worker():
    conf = make_celery(Settings()).conf
    assert not conf.task_acks_late
    assert (conf.worker_prefetch_multiplier, conf.worker_disable_prefetch) == (1, True)


def test_a_worker_of_a_queue_that_there_is_not_does_not_start():
    command = [sys.executable, "-m", "services.training", "worker", "--queues", "cpu,tpu"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "'tpu' is none of cpu, gpu, sync" in answer.stderr
