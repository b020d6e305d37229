"""What the commands say and which exit status they give where no stack runs."""

import pytest
from typer.testing import CliRunner

from infra.cli import app

runner = CliRunner()


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


def test_train_without_a_stack_says_how_to_start_one(tmp_path):
    result = invoke("train", "--state", tmp_path)
    assert result.exit_code == 1
    assert "mmesid up" in result.stderr


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
