"""What the commands say and which exit status they give where no stack runs."""

import pytest
from typer.testing import CliRunner

from infra.cli import app

RUN = "0b54c1a7-94b6-4e3f-8f0c-3f1d9f6c2a11"

# Wide enough for a message to stand on one line.
runner = CliRunner(env={"COLUMNS": "200"})


def invoke(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


def test_status_without_a_stack_is_3(tmp_path):
    result = invoke("status", "--state", tmp_path)
    assert result.exit_code == 3
    assert "No stack runs" in result.stdout


def test_down_without_a_stack_says_so(tmp_path):
    result = invoke("down", "--state", tmp_path)
    assert result.exit_code == 0
    assert "No stack runs" in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("train",),
        ("runs",),
        ("runs", "show", RUN),
        ("runs", "logs", RUN),
        ("runs", "cancel", RUN),
        ("runs", "retry", RUN),
        ("backfills",),
        ("backfills", "start"),
        ("backfills", "show", RUN),
        ("backfills", "cancel", RUN),
        ("bundles",),
        ("bundles", "metrics", "v1"),
        ("activate", "v1"),
        ("rollback",),
        ("split",),
        ("split", "v1=10"),
        ("schedule",),
        ("schedule", "--off"),
        ("events", "import", "events.ndjson"),
    ],
    ids=" ".join,
)
def test_what_needs_a_stack_says_how_to_start_one(tmp_path, command):
    result = invoke(*command, "--state", tmp_path, *([] if command[0] == "events" else ["--json"]))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "mmesid up" in result.stderr


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (("train", "--start", "tepid"), "start: Input should be 'auto', 'warm' or 'cold'"),
        (("train", "--stages", "quantize"), "must name finetune"),
        (("train", "--stages", "quantize,finetune", "--start", "warm"), "keeps the tokenizer"),
        (("split", "v1"), "v1: Input should be a valid number"),
        (("split", "v1=0"), "v1=0: Input should be greater than 0"),
        (("split", "v1=60", "v2=60"), "more than 100 percent together"),
        (("split", "v1=10", "--end"), "goes with no shares"),
        (("schedule", "--off", "--cron", "0 3 * * *"), "takes no times"),
        (("schedule", "--new-interactions", "0"), "new_interactions: Input should be greater than"),
        (("schedule", "--cron", "0" * 201), "at most 200 characters"),
        (("runs", "--json", "show", RUN), "options stand after show"),
        (("runs", "show", "seven"), "RUN': Input should be a valid UUID"),
        (("backfills", "show", "seven"), "BACKFILL': Input should be a valid UUID"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_so_is_refused_with_its_cause(command, cause):
    result = invoke(*command)
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert cause in said


def test_demo_with_a_folder_that_does_not_exist_starts_nothing(tmp_path):
    result = invoke("demo", "--state", tmp_path / "state", "--data", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere does not exist" in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("training", "field"), [('{"seed": -1}', "seed"), ('{"speed": 1}', "speed"), ("{", "JSON")]
)
def test_a_wrong_training_request_names_the_field(tmp_path, training, field):
    result = invoke("demo", "--state", tmp_path / "state", "--training", training)
    assert result.exit_code == 2
    assert field in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", ["demo", "up"])
def test_an_engine_that_is_not_installed_starts_nothing_and_says_how_to_get_it(
    tmp_path, monkeypatch, command
):
    monkeypatch.setattr("infra.cli.engines.find_spec", lambda name: None)
    result = invoke(command, "--state", tmp_path / "state", "--engine", "vllm")
    assert result.exit_code == 1
    assert f"./mmesid {command} --engine vllm" in result.stderr
    assert not (tmp_path / "state").exists()


def test_an_engine_that_nobody_knows_is_refused(tmp_path):
    result = invoke("up", "--state", tmp_path / "state", "--engine", "triton")
    assert result.exit_code == 2
    assert not (tmp_path / "state").exists()
