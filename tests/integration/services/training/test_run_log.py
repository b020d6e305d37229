import logging
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from services.training import run_log
from services.training.run_log import RunLog
from shared.database.training_log import TrainingLogRepository
from shared.database.training_runs import TrainingRunRepository

logger = logging.getLogger("services.training.test")


def log(event: str, **fields) -> None:
    """As structlog hands a line to the root logger."""
    logger.warning({"event": event, "level": "warning", "timestamp": "now", **fields})


@pytest_asyncio.fixture
async def run_id(resources) -> UUID:
    async with resources.database.transaction() as session:
        return (await TrainingRunRepository(session).add("shop", {})).run_id


@pytest.fixture
def stored(resources, run_id):
    async def lines() -> list[tuple]:
        async with resources.database.transaction() as session:
            rows = await TrainingLogRepository(session, run_id).after(0, limit=1000)
        return [(row.level, row.event, row.fields) for row in rows]

    return lines


async def test_lines_of_the_block_are_kept_in_order_with_their_fields(resources, run_id, stored):
    log("before")
    async with RunLog(resources.database, run_id):
        log("stage begins", stage="embed", run_id=str(run_id))
        logger.warning("not structlog's")
        log("stage done", seconds=1.5)
    log("after")
    assert await stored() == [
        ("warning", "stage begins", {"stage": "embed"}),
        ("warning", "stage done", {"seconds": 1.5}),
    ]


async def test_an_exception_is_kept_with_its_traceback(resources, run_id, stored):
    async with RunLog(resources.database, run_id):
        try:
            raise ValueError("the cause")
        except ValueError:
            log("failed", exc_info=True)
    ((_, event, fields),) = await stored()
    assert event == "failed"
    assert "ValueError: the cause" in fields["exception"]
    assert "Traceback" in fields["exception"]


async def test_what_json_or_postgres_cannot_hold_is_written_as_it_can(resources, run_id, stored):
    some_id = uuid4()
    async with RunLog(resources.database, run_id):
        log(
            "odd\x00",
            number=float("nan"),
            id=some_id,
            parts=("a\ud800", None, {1: True}),
            long="x" * 20_000,
        )
    ((_, event, fields),) = await stored()
    assert event == "odd"
    assert fields["number"] == "nan"
    assert fields["id"] == str(some_id)
    assert fields["parts"] == ["a?", None, {"1": True}]
    assert fields["long"] == "x" * 10_000


async def test_lines_wait_while_the_database_does_not_take_them(
    resources, run_id, stored, monkeypatch
):
    monkeypatch.setattr(run_log, "MOST_WAITING", 2)

    async def execute(statement: str) -> None:
        async with resources.database.transaction() as session:
            await session.execute(text(statement))

    async with RunLog(resources.database, run_id) as log_of_run:
        await execute("ALTER TABLE training_log RENAME TO away")
        for number in range(5):
            log("line", number=number)
        await log_of_run.write()
        await execute("ALTER TABLE away RENAME TO training_log")
        assert await stored() == []
    assert [(event, fields) for _, event, fields in await stored()] == [
        ("line", {"number": 0}),
        ("line", {"number": 1}),
        ("log lines lost", {"lines": 3}),
    ]
