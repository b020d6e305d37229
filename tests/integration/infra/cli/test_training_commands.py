"""`train`, `runs` and `schedule` against a real gateway."""

import asyncio
import json
import signal
import sys

import pytest
from sqlalchemy import text

from infra.local.state import CHECKOUT

pytestmark = pytest.mark.integration

FAR_TOO_LONG_S = 240


async def started(stack) -> str:
    result = await stack.run("train", "--no-follow", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["run_id"]


async def shown(stack, *command: object) -> dict:
    result = await stack.run(*command, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


async def request_of(stack, run_id: str) -> dict:
    statement = text("SELECT request FROM training_runs WHERE run_id = :run_id")
    async with stack.database.transaction() as session:
        return (await session.execute(statement, {"run_id": run_id})).scalar_one()


async def test_options_of_train_are_the_request_of_the_run_instead_of_what_its_json_says(stack):
    run = await shown(
        stack,
        "train",
        "--no-follow",
        "--no-go-live",
        "--stages",
        "quantize, finetune",
        "--start",
        "cold",
        "--training",
        '{"seed": 3, "start": "auto"}',
    )

    assert run["state"] == "queued"
    request = await request_of(stack, run["run_id"])
    assert (request["seed"], request["start"], request["go_live"]) == (3, "cold", False)
    assert request["stages"] == ["quantize", "finetune"]


async def test_a_run_is_followed_to_its_end(stack, worker):
    training = asyncio.create_task(stack.run("train"))
    await worker.take_up()
    await worker.finish("succeeded", bundle="v1")

    result = await training

    assert result.exit_code == 0
    assert f"Training run {worker.run_id}" in result.stdout
    assert "items 1,200" in result.stdout
    assert "Bundle v1 is made." in result.stdout


async def test_a_run_that_fails_says_why_and_exits_with_1(stack, worker):
    training = asyncio.create_task(stack.run("train", "--json"))
    await worker.take_up()
    problem = {"type": "urn:mmesid:problem:conflict", "title": "Conflict", "status": 409}
    await worker.finish("failed", problem={**problem, "detail": "there is too little data"})

    result = await training

    assert result.exit_code == 1
    assert json.loads(result.stdout)["state"] == "failed"
    assert "there is too little data" in result.stderr


async def test_a_second_run_is_refused_and_the_first_one_named(stack):
    run_id = await started(stack)

    result = await stack.run("train")

    assert result.exit_code == 1
    assert run_id in result.stderr


async def test_a_dry_run_starts_nothing(stack):
    await stack.add_items("a", "b")

    result = await stack.run("train", "--dry-run")

    assert result.exit_code == 0
    assert "2 items (2 to embed)" in result.stdout
    assert (await shown(stack, "train", "--dry-run"))["items"] == 2
    assert (await shown(stack, "runs"))["trainings"] == []


async def test_ctrl_c_leaves_the_run_going_and_says_how_to_look_again(stack, worker):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", "train", "--state", str(stack.folder)),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(FAR_TOO_LONG_S):
        await worker.take_up()
        while b"embed" not in (line := await process.stdout.readline()):
            assert line, (await process.stderr.read()).decode()
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()

    assert process.returncode == 130
    assert f"mmesid runs show {worker.run_id}" in said.decode()
    assert (await shown(stack, "runs", "show", worker.run_id))["state"] == "running"
    async with stack.database.transaction() as session:
        keys = await session.execute(text("SELECT count(*) FROM api_keys"))
    assert keys.scalar_one() == 0


async def test_runs_are_listed_cancelled_and_tried_again(stack):
    former = await started(stack)
    cancelled = await stack.run("runs", "cancel", former)
    again = await shown(stack, "runs", "retry", former)

    listed = (await stack.run("runs")).stdout

    assert cancelled.stdout == f"Run {former} is cancelled.\n"
    assert again["retry_of"] == former
    assert [line.split()[:3] for line in listed.splitlines()] == [
        ["run", "state", "by"],
        [again["run_id"], "queued", "retry"],
        [former, "cancelled", "api"],
    ]
    only = (await shown(stack, "runs", "--only", "cancelled"))["trainings"]
    assert [run["run_id"] for run in only] == [former]


async def test_a_list_of_runs_goes_on_at_the_cursor_that_it_names(stack):
    older = await started(stack)
    await stack.run("runs", "cancel", older)
    await started(stack)

    page = await shown(stack, "runs", "--limit", 1)
    result = await stack.run("runs", "--limit", 1)
    rest = await shown(stack, "runs", "--cursor", page["next_cursor"])

    assert f"--cursor {page['next_cursor']}" in result.stdout
    assert [run["run_id"] for run in rest["trainings"]] == [older]


async def test_a_state_that_no_run_can_have_is_refused_by_name(stack):
    result = await stack.run("runs", "--only", "asleep")

    assert result.exit_code == 1
    assert "state: " in result.stderr


async def test_a_run_is_shown_stage_by_stage(stack, worker):
    await started(stack)
    await worker.take_up()

    result = await stack.run("runs", "show", worker.run_id)

    assert f"Run {worker.run_id} is running, started by api" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["embed", "50%", "-", "items", "1,200"]


async def test_what_is_not_there_is_said(stack):
    result = await stack.run("runs", "show", "0b54c1a7-94b6-4e3f-8f0c-3f1d9f6c2a11")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "There is no training 0b54c1a7" in result.stderr


async def test_a_log_is_printed_line_by_line(stack, worker):
    await started(stack)
    await worker.take_up()
    await worker.log("stage begins", stage="embed")
    await worker.log("stage ends")

    result = await stack.run("runs", "logs", worker.run_id)
    lines = (await stack.run("runs", "logs", worker.run_id, "--json")).stdout.splitlines()

    assert "info     stage begins  stage=embed" in result.stdout
    assert [json.loads(line)["event"] for line in lines] == ["stage begins", "stage ends"]


async def test_a_log_is_followed_until_the_run_is_over(stack, worker):
    await started(stack)
    await worker.take_up()
    await worker.log("first")
    following = asyncio.create_task(stack.run("runs", "logs", worker.run_id, "--follow", "--json"))
    await worker.log("second")
    await worker.finish("succeeded", bundle="v1")
    await worker.log("last")

    lines = (await following).stdout.splitlines()

    assert [json.loads(line)["event"] for line in lines] == ["first", "second", "last"]


async def test_a_schedule_is_set_shown_and_taken_away(stack):
    nothing = await stack.run("schedule")
    wanted = ("--cron", "0 3 * * *", "--new-interactions", 10000, "--training", '{"seed": 1}')
    made = await shown(stack, "schedule", *wanted)
    table = await stack.run("schedule")
    ended = await stack.run("schedule", "--off")

    assert "No schedule" in nothing.stdout
    assert (made["cron"], made["new_interactions"]) == ("0 3 * * *", 10000)
    assert made["request"]["seed"] == 1
    assert "0 3 * * *" in table.stdout
    assert "10,000" in table.stdout
    assert ended.exit_code == 0
    assert (await stack.run("schedule", "--json")).exit_code == 1


async def test_a_cron_that_names_no_time_is_refused_with_its_cause(stack):
    result = await stack.run("schedule", "--cron", "61 3 * * *")

    assert result.exit_code == 1
    assert "cron: " in result.stderr
