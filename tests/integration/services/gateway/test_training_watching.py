import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from shared.database.api_keys import Scope
from shared.database.training_log import NewLogLine, TrainingLogRepository
from shared.database.training_runs import TrainingRunRepository

pytestmark = pytest.mark.integration

PATH = "/v1/admin/trainings"
LEASE = timedelta(minutes=1)


class Worker:
    """What a worker writes about its run."""

    def __init__(self, database, run_id: str) -> None:
        self._database = database
        self._run_id = UUID(run_id)

    async def log(self, *events: str, **fields) -> None:
        lines = [NewLogLine(datetime.now(UTC), "info", event, fields) for event in events]
        async with self._database.transaction() as session:
            await TrainingLogRepository(session, self._run_id).add(lines)

    async def take_up(self) -> None:
        async with self._database.transaction() as session:
            await TrainingRunRepository(session).acquire(self._run_id, lease=LEASE)

    async def progress(self, done: int) -> None:
        stages = [{"stage": "embed", "done": done, "total": 10, "metrics": {}}]
        async with self._database.transaction() as session:
            await TrainingRunRepository(session).heartbeat(
                self._run_id, 1, lease=LEASE, stages=stages
            )

    async def finish(self) -> None:
        async with self._database.transaction() as session:
            await TrainingRunRepository(session).finish(
                self._run_id, 1, state="succeeded", stages=[]
            )


class Stream:
    """The events of a run as they come."""

    def __init__(self, response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> dict:
        """Skips comments."""
        event: dict = {}
        async for line in self._lines:
            if not line and event:
                return event
            name, _, value = line.partition(": ")
            if name:
                event[name] = json.loads(value) if name == "data" else value
        raise AssertionError("the stream ended")

    async def is_over(self) -> bool:
        return [line async for line in self._lines if line] == []


@pytest.fixture
async def run_id(gateway) -> str:
    return (await gateway.client.post(PATH, json={})).json()["run_id"]


@pytest.fixture
def worker(gateway, run_id) -> Worker:
    return Worker(gateway.database, run_id)


async def test_the_log_is_read_on_from_the_last_line(client, run_id, worker):
    await worker.log("run taken up", "stage begins", stage="embed")

    first = (await client.get(f"{PATH}/{run_id}/logs", params={"limit": 1})).json()
    assert [line["event"] for line in first["lines"]] == ["run taken up"]
    rest = (await client.get(f"{PATH}/{run_id}/logs?after={first['next_after']}")).json()
    (line,) = rest["lines"]
    assert (line["event"], line["level"], line["fields"]) == (
        "stage begins",
        "info",
        {"stage": "embed"},
    )
    nothing = (await client.get(f"{PATH}/{run_id}/logs?after={rest['next_after']}")).json()
    assert nothing == {"lines": [], "next_after": rest["next_after"]}


async def test_the_log_of_another_run_or_catalogue_is_not_shown(
    gateway, run_id, worker, is_problem
):
    await worker.log("run taken up")
    other = await gateway.client_for("other", Scope.ADMIN)
    for answer in (
        await other.get(f"{PATH}/{run_id}/logs"),
        await other.get(f"{PATH}/{run_id}/events"),
        await gateway.client.get(f"{PATH}/{uuid4()}/logs"),
        await gateway.client.get(f"{PATH}/{uuid4()}/events"),
    ):
        is_problem(answer, 404)
    reader = await gateway.client_for("shop", Scope.READ)
    is_problem(await reader.get(f"{PATH}/{run_id}/logs"), 403)
    is_problem(await reader.get(f"{PATH}/{run_id}/events"), 403)


async def test_a_run_is_followed_from_the_queue_to_its_end(client, run_id, worker):
    async with asyncio.timeout(30), client.stream("GET", f"{PATH}/{run_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = Stream(response)
        queued = await stream.next()
        assert (queued["event"], queued["data"]["state"]) == ("progress", "queued")

        await worker.take_up()
        assert (await stream.next())["data"]["state"] == "running"
        await worker.progress(3)
        assert (await stream.next())["data"]["stages"][0]["done"] == 3
        await worker.log("first", "second \u2028 on one line", stage="embed")
        lines = [await stream.next(), await stream.next()]
        assert [line["event"] for line in lines] == ["log", "log"]
        assert [line["data"]["event"] for line in lines] == ["first", "second \u2028 on one line"]
        assert [line["id"] for line in lines] == [str(line["data"]["id"]) for line in lines]

        await worker.finish()
        assert (await stream.next())["data"]["state"] == "succeeded"
        await worker.log("run over")
        ending = [await stream.next(), await stream.next()]
        assert [event["event"] for event in ending] == ["log", "end"]
        assert ending[1]["data"] == (await client.get(f"{PATH}/{run_id}")).json()
        assert await stream.is_over()


async def test_a_stream_that_broke_off_goes_on_after_its_last_line(client, run_id, worker):
    await worker.log("first", "second", "third")
    await worker.take_up()
    await worker.finish()
    lines = (await client.get(f"{PATH}/{run_id}/logs")).json()["lines"]

    seen: list[str] = []
    headers = {"Last-Event-ID": str(lines[1]["id"])}
    async with (
        asyncio.timeout(30),
        client.stream("GET", f"{PATH}/{run_id}/events", headers=headers) as response,
    ):
        stream = Stream(response)
        while (event := await stream.next())["event"] != "end":
            if event["event"] == "log":
                seen.append(event["data"]["event"])
    assert seen == ["third"]


async def test_a_place_that_no_stream_gave_is_refused(client, run_id, is_problem):
    headers = {"Last-Event-ID": "yesterday"}
    answer = await client.get(f"{PATH}/{run_id}/events", headers=headers)
    is_problem(answer, 422, "header.last-event-id")
    is_problem(await client.get(f"{PATH}/{run_id}/logs", params={"after": -1}), 422, "after")
