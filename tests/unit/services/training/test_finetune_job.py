import json
from dataclasses import replace

import pytest

from services.training.finetune_job import FinetuneJob, finetune
from shared.errors import InvalidInputError
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import Precision


def test_a_job_is_read_back_as_it_was_written(finetune_job, tmp_path):
    job = replace(finetune_job, ranker=replace(finetune_job.ranker, precision=Precision.BFLOAT16))
    for written in (job, replace(job, parent=tmp_path / "bundle")):
        written.write(tmp_path / "job.json")
        assert FinetuneJob.read(tmp_path / "job.json") == written


def test_a_job_written_by_hand_leaves_out_what_stays_as_it_is(finetune_job, tmp_path):
    path = tmp_path / "job.json"
    finetune_job.write(path)
    document = json.loads(path.read_text())
    document["base"] = {"kind": "checkpoint", "name": "a-llama", "dtype": "bfloat16"}
    document["ranker"] = {"train_base": False, "sharded": True}
    path.write_text(json.dumps(document))
    job = FinetuneJob.read(path)
    assert (job.base.name, job.base.dtype) == ("a-llama", "bfloat16")
    assert (job.ranker.sharded, job.ranker.epochs) == (True, 20)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ranker": {"epoch": 3}}, "ranker.epoch"),
        ({"ranker": {"precision": "float8"}}, "ranker.precision"),
        ({"base": {"kind": "gpt"}}, "base.kind"),
        ({"out": "somewhere"}, "job"),
    ],
)
def test_a_job_that_cannot_be_names_the_field(finetune_job, tmp_path, change, field):
    path = tmp_path / "job.json"
    finetune_job.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInputError) as raised:
        FinetuneJob.read(path)
    assert raised.value.fields[0].field == field


def test_a_job_ends_with_a_ranker_that_can_be_loaded(finetune_job):
    seen = []
    finetune(finetune_job, seen.append)
    assert seen[-1].done <= seen[-1].total
    assert Ranker.load(finetune_job.output).item_encoder.number_of_items == 12
