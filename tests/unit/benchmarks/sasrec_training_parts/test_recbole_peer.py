import json
from pathlib import Path

import pytest

from benchmarks.sasrec_training_parts.clock import Epoch
from benchmarks.sasrec_training_parts.recbole_peer import open_recbole

EPOCH = {"seconds": 2.5, "cpu_seconds": 2.0, "steps": 4, "targets": 40}


def stand_in(folder: Path, answer: str) -> Path:
    """An executable in place of a Python with RecBole: notes the commands, gives one answer."""
    script = folder / "stand-in"
    script.write_text(
        f"#!/bin/sh\nwhile read line; do echo \"$line\" >> commands; echo '{answer}'; done\n"
    )
    script.chmod(0o755)
    return script


def test_commands_go_in_and_answers_come_out_until_the_end(tmp_path):
    python = stand_in(tmp_path, json.dumps(EPOCH))
    with open_recbole(python, {"epochs": 3}, tmp_path) as peer:
        assert [peer.epoch(0.5), peer.epoch(1.0)] == [Epoch(2.5, 2.0, 4, 40)] * 2
    assert (tmp_path / "commands").read_text().splitlines() == ["epoch 0.5", "epoch 1.0"]
    assert json.loads((tmp_path / "settings.json").read_text())["epochs"] == 3


def test_a_training_is_read_with_the_figures_that_recbole_reports(tmp_path):
    answer = {
        "seconds": 9.0, "cpu_seconds": 8.0, "epochs": 5, "best_epoch": 2, "validation_ndcg": 0.1,
        "reported": {"hit@10": 0.2, "ndcg@10": 0.1},
    }  # fmt: skip
    with open_recbole(stand_in(tmp_path, json.dumps(answer)), {}, tmp_path) as peer:
        fitted = peer.fit(tmp_path / "factors.npz")
    assert (fitted.best_epoch, fitted.reported["hit@10"]) == (2, 0.2)


def test_a_process_that_has_ended_is_an_error(tmp_path):
    script = tmp_path / "stand-in"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)
    with (
        open_recbole(script, {}, tmp_path) as peer,
        pytest.raises(RuntimeError, match="ended at 'epoch"),
    ):
        peer.epoch(1.0)
