import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from services.training.finetune_job import finetune
from services.training.finetune_together import finetune_together
from shared.errors import UnavailableError
from shared.modeling.base_source import BaseKind, BaseSource
from shared.modeling.ranker import Ranker

REPOSITORY = Path(__file__).parents[4]


class StoppedError(Exception):
    pass


def children():
    own = psutil.Process().children(recursive=True)
    alive = [child for child in own if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "services.training.finetune_process" in child.cmdline()]


def test_two_processes_write_the_ranker_that_one_would(finetune_job, tmp_path):
    """One that takes as many parts of a batch as both of them together."""
    alone, together = [], []
    finetune(finetune_job, alone.append)
    shared_out = replace(
        finetune_job,
        output=tmp_path / "together",
        checkpoints=tmp_path / "together-checkpoints",
        ranker=replace(finetune_job.ranker, gradient_accumulation=1),
    )
    finetune_together(shared_out, 2, together.append, check=lambda: None, threads=1)
    assert [report.done for report in together] == [report.done for report in alone]
    assert together[-1].metrics == pytest.approx(alone[-1].metrics)
    expected = dict(Ranker.load(finetune_job.output).named_parameters())
    for name, weight in Ranker.load(shared_out.output).named_parameters():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=2e-6)
    assert children() == []


def test_processes_end_when_the_run_must_stop(finetune_job):
    alive = []

    def check():
        alive.extend(children())
        raise StoppedError

    with pytest.raises(StoppedError):
        finetune_together(finetune_job, 2, lambda _: None, check=check, threads=1)
    assert len(alive) == 2
    assert children() == []


def test_what_a_process_cannot_do_is_raised_as_itself(finetune_job, tmp_path):
    missing = BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path / "no-llama"))
    job = replace(finetune_job, base=missing)
    with pytest.raises(UnavailableError, match="no-llama"):
        finetune_together(job, 1, lambda _: None, check=lambda: None, threads=1)
    assert children() == []


def test_an_operator_reads_the_progress_from_the_output(finetune_job, tmp_path):
    finetune_job.write(tmp_path / "job.json")
    done = subprocess.run(
        [sys.executable, "-m", "services.training.finetune_process", str(tmp_path / "job.json")],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert "ndcg@10" in lines[-1]["metrics"]
    assert (finetune_job.output / "ranker.json").is_file()
