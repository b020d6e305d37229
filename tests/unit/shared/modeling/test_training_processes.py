import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.training_processes import TrainingProcesses
from shared.modeling.window_batches import WindowBatch

REPOSITORY = Path(__file__).parents[4]
PROGRAM = Path(__file__).with_name("trainings_together.py")
# Sums over processes and over pieces of weights are not taken in the same order as alone.
ROUNDING = {"rtol": 1e-4, "atol": 2e-6}


def run_two(folder, act):
    """The program's two processes, to their end or to that of one which fails: [exit codes]."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), act],
            cwd=REPOSITORY,
            env={
                **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank),
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    codes = [processes[0].wait(timeout=300)]
    if codes[0]:
        processes[1].kill()
    return [*codes, processes[1].wait(timeout=300)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What each training ended with: [first process, second process] by its name."""
    folder = tmp_path_factory.mktemp("together")
    died, _ = run_two(folder, "train")
    assert died < 0
    assert run_two(folder, "resume") == [0, 0]
    names = ("alone", "replicated", "sharded", "resumed", "resumed-alone")
    return {name: [torch.load(folder / f"{name}.{rank}.pt") for rank in range(2)] for name in names}


@pytest.mark.parametrize("way", ["replicated", "sharded"])
def test_two_processes_end_in_the_weights_of_one(trained, way):
    """With dropout, with batches that do not divide into parts, and an odd number of users."""
    alone = trained["alone"][0]["weights"]
    for process in trained[way]:
        for name, weight in process["weights"].items():
            torch.testing.assert_close(weight, alone[name], **ROUNDING)


@pytest.mark.parametrize("way", ["replicated", "sharded", "resumed"])
def test_both_processes_end_in_the_same_weights(trained, way):
    first, second = trained[way]
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name


def test_only_the_main_process_reports(trained):
    reports = trained["alone"][0]["reports"]
    assert reports > 0
    for way in ("replicated", "sharded"):
        assert [process["reports"] for process in trained[way]] == [reports, 0]


def test_a_killed_run_that_two_processes_resume_ends_in_the_weights_of_an_unbroken_one(trained):
    resumed, unbroken = trained["resumed"][0], trained["sharded"][0]
    assert 0 < resumed["reports"] < unbroken["reports"]
    for name, weight in resumed["weights"].items():
        assert torch.equal(weight, unbroken["weights"][name]), name


def test_one_process_goes_on_from_the_checkpoint_of_two(trained):
    alone = trained["alone"][0]["weights"]
    for name, weight in trained["resumed-alone"][0]["weights"].items():
        torch.testing.assert_close(weight, alone[name], **ROUNDING)


@pytest.fixture
def batch():
    """Five windows, longest first; the targets are the number of their window."""
    lengths = [4, 4, 3, 2, 1]
    valid = torch.tensor([[place < length for place in range(4)] for length in lengths])
    targets = torch.arange(5)[:, None].expand(5, 4) * valid
    return WindowBatch(targets + 1, targets, valid)


def test_the_parts_of_a_batch_are_all_of_its_windows_weighted_by_their_targets(batch):
    parts = list(TrainingProcesses().parts(batch, 3))
    windows = [part.batch.targets[:, 0].tolist() for part in parts]
    assert windows == [[0, 3], [1, 4], [2]]
    assert [part.share for part in parts] == pytest.approx([6 / 14, 5 / 14, 3 / 14])
    assert [part.batch.valid.shape[1] for part in parts] == [4, 4, 3]


def test_a_part_without_windows_counts_nothing(batch):
    parts = list(TrainingProcesses().parts(batch, 7))
    assert [part.share > 0 for part in parts] == [True] * 5 + [False] * 2
    assert all(bool(part.batch.valid.any()) for part in parts)
    assert sum(part.share for part in parts) == pytest.approx(1)


def test_one_part_is_the_batch_itself(batch):
    (part,) = TrainingProcesses().parts(batch, 1)
    assert part.batch is batch
    assert part.share == 1.0


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_processes_without_a_gpu_each_are_refused(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match="device"):
        TrainingProcesses.launched(device)
