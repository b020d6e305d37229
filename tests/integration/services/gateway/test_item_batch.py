import asyncio
import base64
import json

import httpx
import pytest

from shared.database.api_keys import Scope

pytestmark = pytest.mark.integration

PATH = "/v1/items:batch"


def ndjson(*rows) -> bytes:
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )


def rows_of(answer: httpx.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def item(number: int, **more) -> dict:
    return {"item_id": f"item-{number}", "title": f"Item {number}", **more}


async def test_every_line_has_its_own_result_and_none_stops_the_others(client, is_problem, png):
    await client.post("/v1/items", json=item(0))
    body = ndjson(
        item(1, image_base64=base64.b64encode(png).decode()),
        b"{not json",
        b"",
        {"item_id": "item-4"},
        item(0),
        {**item(0), "title": "Other content"},
        item(7, image_base64="bm8gcGljdHVyZQ=="),
        item(8),
        {**item(8), "title": "Other content"},
        item(8),
        {"item_id": "item-11", "title": "This cannot be embedded"},
        item(12, image_url="http://127.0.0.1/x.png"),
    )

    rows = rows_of(await client.post(PATH, content=body))

    assert [(row["line"], row["status"]) for row in rows] == [
        (1, 201),
        (2, 422),
        (4, 422),
        (5, 200),
        (6, 409),
        (7, 422),
        (8, 201),
        (9, 409),
        (10, 200),
        (11, 201),
        (12, 422),
    ]
    problems = {row["line"]: row["problem"] for row in rows if "problem" in row}
    assert "malformed JSON" in problems[2]["detail"]
    assert problems[4]["errors"][0]["field"] == "title"
    assert problems[7]["type"] == "urn:mmesid:problem:broken-image"
    assert problems[11]["type"] == "urn:mmesid:problem:broken-image"
    assert problems[12]["errors"][0]["field"] == "image_url"
    assert (await client.get("/v1/items/item-1")).json()["status"] == "ready"
    assert (await client.get("/v1/items/item-8")).json()["title"] == "Item 8"
    assert (await client.get("/v1/items/item-11")).json()["status"] == "failed"


async def test_the_last_line_needs_no_end_and_windows_ends_are_fine(client):
    body = b"\r\n".join(json.dumps(item(number)).encode() for number in range(3))

    rows = rows_of(await client.post(PATH, content=body))

    assert [(row["line"], row["status"]) for row in rows] == [(1, 201), (2, 201), (3, 201)]


async def test_an_empty_body_has_no_results(client):
    assert rows_of(await client.post(PATH, content=b"")) == []


async def test_embedding_is_batched(client, stand_ins):
    rows = rows_of(await client.post(PATH, content=ndjson(*(item(n) for n in range(64)))))

    assert {row["status"] for row in rows} == {201}
    assert len(stand_ins.embedding.requests) <= 4
    assert sum(len(request.inputs) for request in stand_ins.embedding.requests) == 64


async def test_a_line_that_is_too_long_is_refused_alone(start_gateway):
    gateway = await start_gateway(gateway={"max_batch_line_bytes": 2000})
    body = ndjson(item(1), item(2, description="x" * 3000), item(3))

    rows = rows_of(await gateway.client.post(PATH, content=body))

    assert [(row["line"], row["status"]) for row in rows] == [(1, 201), (2, 413), (3, 201)]


async def test_a_batch_may_be_larger_than_other_bodies(start_gateway):
    gateway = await start_gateway(gateway={"max_body_bytes": 10_000})
    body = ndjson(*(item(number, description="x" * 1000) for number in range(50)))

    rows = rows_of(await gateway.client.post(PATH, content=body))

    assert len(body) > 50_000
    assert [row["status"] for row in rows] == [201] * 50


async def test_results_come_while_the_request_is_still_being_sent(gateway):
    first_result = asyncio.Event()

    async def lines():
        yield ndjson(item(1))
        await asyncio.wait_for(first_result.wait(), 20)
        yield ndjson(item(2))

    # httpx sends all before it reads anything, so the two directions are used by hand.
    url = httpx.URL(gateway.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = gateway.client.headers["Authorization"]
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    )

    async def send():
        async for part in lines():
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    sending = asyncio.create_task(send())
    received = await asyncio.wait_for(reader.readuntil(b'"item_id":"item-1"}'), 20)
    assert b"item-2" not in received
    first_result.set()
    rest = await asyncio.wait_for(reader.read(), 20)
    await sending
    writer.close()

    assert b'"item_id":"item-2"' in rest


async def test_a_caller_that_reads_nothing_until_all_is_sent_is_served(client):
    """The answer is larger than what the buffers between the two hold."""
    bad_rows = ndjson(*(b'{"item_id": "%d"}' % number for number in range(30_000)))

    rows = rows_of(await client.post(PATH, content=bad_rows, timeout=120))

    assert len(rows) == 30_000
    assert {row["status"] for row in rows} == {422}


async def test_a_caller_that_leaves_keeps_what_was_accepted_and_harms_nothing(gateway):
    async def lines():
        yield ndjson(item(1))
        yield b'{"item_id": "item-2", "ti'
        await asyncio.sleep(1)
        raise ConnectionError("the caller leaves")

    with pytest.raises(ConnectionError):
        await gateway.client.post(PATH, content=lines())

    assert (await gateway.client.get("/v1/items/item-1")).status_code == 200
    assert (await gateway.client.get("/v1/items/item-2")).status_code == 404


async def test_while_a_service_is_down_the_whole_batch_is_accepted(gateway, stand_ins):
    stand_ins.embedding.is_down = True
    ids = [f"item-{number}" for number in range(70)]

    rows = rows_of(await gateway.client.post(PATH, content=ndjson(*(item(n) for n in range(70)))))

    assert {row["status"] for row in rows} == {202}
    assert len(stand_ins.embedding.requests) == 1  # the rest is left to the relay at once
    assert await gateway.outbox(*ids) == set(ids)
    stand_ins.embedding.is_down = False
    await gateway.relay(*ids)
    ready = (await gateway.client.get("/v1/items", params={"status": "ready", "limit": 100})).json()
    assert len(ready["items"]) == 70


async def test_two_batches_of_the_same_items_at_once_make_each_item_once(client):
    forward = ndjson(*(item(number) for number in range(40)))
    backward = ndjson(*(item(number) for number in reversed(range(40))))

    answers = await asyncio.gather(
        *(client.post(PATH, content=body) for body in (forward, backward, forward, backward))
    )

    statuses = [row["status"] for answer in answers for row in rows_of(answer)]
    assert sorted(statuses) == [200] * 120 + [201] * 40


async def test_a_batch_needs_the_scope_write(gateway, is_problem):
    reader = await gateway.client_for("shop", Scope.READ)

    is_problem(await reader.post(PATH, content=ndjson(item(1))), 403)
