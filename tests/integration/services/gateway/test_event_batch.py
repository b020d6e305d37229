import asyncio
import json
from collections import Counter

import httpx
import pytest
from sqlalchemy import select, text

from services.gateway import event_batches
from services.gateway.event_batches import EventBatches
from services.gateway.event_recording import EventRecorder
from services.gateway.ndjson import Line
from shared.database.session import Database
from shared.database.tables import InteractionRow
from shared.settings import DatabaseSettings

pytestmark = pytest.mark.integration

PATH = "/v1/events:batch"


@pytest.fixture
async def stocked(gateway):
    """Two ready items, a and b."""
    for item_id in "ab":
        await gateway.client.post("/v1/items", json={"item_id": item_id, "title": item_id})
    return gateway


def ndjson(*rows) -> bytes:
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )


def rows_of(answer: httpx.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def event(number: int, item_id: str = "a", **more) -> dict:
    return {"user_id": "u", "item_id": item_id, "event_id": f"e{number}", **more}


async def stored(database: Database) -> list[str]:
    """The event ids, in the order in which the events count as having happened."""
    order = (InteractionRow.occurred_at, InteractionRow.id)
    async with database.transaction() as session:
        rows = await session.execute(select(InteractionRow.event_id).order_by(*order))
        return list(rows.scalars())


async def test_every_line_has_its_own_result_and_none_stops_the_others(stocked):
    body = ndjson(
        event(1),
        b"{not json",
        b"",
        event(4, "nothing"),
        event(5, event_type="rating"),
        event(1),
        event(7, "b", event_type="view", recommendation_id="r1"),
        {"user_id": "u", "item_id": "a\x00"},
        b'{"user_id": "u", "item_id": "a", "rating": NaN}',
        {"user_id": "u", "item_id": "a"},
    )

    rows = rows_of(await stocked.client.post(PATH, content=body))

    assert [(row["line"], row["status"]) for row in rows] == [
        (1, 201),
        (2, 422),
        (4, 422),
        (5, 422),
        (6, 200),
        (7, 201),
        (8, 422),
        (9, 422),
        (10, 201),
    ]
    problems = {row["line"]: row["problem"] for row in rows if "problem" in row}
    fields = {line: [at["field"] for at in found["errors"]] for line, found in problems.items()}
    assert fields == {
        2: ["body"],
        4: ["item_id"],
        5: ["rating"],
        8: ["item_id"],
        9: ["rating"],
    }
    assert await stored(stocked.database) == ["e1", "e7", None]


async def test_a_batch_sent_again_stores_nothing_again(stocked):
    body = ndjson(*(event(number) for number in range(20)))
    first = rows_of(await stocked.client.post(PATH, content=body))

    again = rows_of(await stocked.client.post(PATH, content=body + ndjson(event(20))))

    assert [row["status"] for row in first] == [201] * 20
    assert [row["status"] for row in again] == [200] * 20 + [201]
    assert len(await stored(stocked.database)) == 21


async def test_events_of_one_time_keep_the_order_of_their_lines_over_all_groups(
    stocked, monkeypatch
):
    monkeypatch.setattr(event_batches, "GROUP_SIZE", 7)
    backwards = [event(number, timestamp="2026-01-31T12:00:00Z") for number in reversed(range(40))]

    rows = rows_of(await stocked.client.post(PATH, content=ndjson(*backwards)))

    assert [row["line"] for row in rows] == list(range(1, 41))
    assert await stored(stocked.database) == [sent["event_id"] for sent in backwards]


async def test_a_batch_may_be_larger_than_other_bodies_and_takes_few_transactions(
    start_gateway,
):
    gateway = await start_gateway(gateway={"max_body_bytes": 10_000})
    await gateway.client.post("/v1/items", json={"item_id": "a", "title": "a"})
    body = ndjson(*(event(number) for number in range(5000)))

    rows = rows_of(await gateway.client.post(PATH, content=body, timeout=120))

    assert Counter(row["status"] for row in rows) == {201: 5000}
    async with gateway.database.transaction() as session:
        transactions = text("SELECT count(DISTINCT xmin::text) FROM interactions")
        assert (await session.execute(transactions)).scalar_one() <= 10


async def test_a_line_that_is_too_long_is_refused_alone(start_gateway):
    gateway = await start_gateway(gateway={"max_batch_line_bytes": 2000})
    await gateway.client.post("/v1/items", json={"item_id": "a", "title": "a"})
    body = ndjson(event(1), event(2, padding="x" * 3000), event(3))

    rows = rows_of(await gateway.client.post(PATH, content=body))

    assert [(row["line"], row["status"]) for row in rows] == [(1, 201), (2, 413), (3, 201)]


async def test_two_batches_of_the_same_events_at_once_store_each_event_once(stocked, monkeypatch):
    monkeypatch.setattr(event_batches, "GROUP_SIZE", 50)
    forward = ndjson(*(event(number) for number in range(400)))
    backward = ndjson(*(event(number) for number in reversed(range(400))))

    answers = await asyncio.gather(
        *(
            stocked.client.post(PATH, content=body, timeout=60)
            for body in (forward, backward, forward, backward)
        )
    )

    statuses = Counter(row["status"] for answer in answers for row in rows_of(answer))
    assert statuses == {201: 400, 200: 1200}
    assert len(await stored(stocked.database)) == 400


async def test_a_caller_that_leaves_keeps_what_was_stored(stocked):
    async def lines():
        yield ndjson(event(1))
        yield b'{"user_id": "u", "item_'
        async with asyncio.timeout(20):
            while not await stored(stocked.database):
                await asyncio.sleep(0.02)
        raise ConnectionError("the caller leaves")

    with pytest.raises(ConnectionError):
        await stocked.client.post(PATH, content=lines())

    assert await stored(stocked.database) == ["e1"]


async def test_a_database_that_is_away_is_said_of_every_line():
    away = Database(DatabaseSettings(url="postgresql+psycopg://nobody@127.0.0.1:9/none"))
    batches = EventBatches(EventRecorder(away), max_line_bytes=1000)

    async def lines():
        yield Line(1, json.dumps(event(1)).encode())
        yield Line(3, b"{not json")

    rows = [row async for row in batches.rows("shop", lines())]

    assert [(row.line, row.status) for row in rows] == [(1, 503), (3, 503)]
