import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from shared.errors import AbandonedError, OverloadedError, UnavailableError
from shared.http import (
    PROBLEM_JSON,
    BodyLimit,
    health_routes,
    install_problem_handlers,
    unless_disconnected,
)


class Order(BaseModel):
    k: int = Field(ge=1)


@pytest.fixture
def app():
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=100, unlimited_paths=frozenset({"/stream"}))

    @app.post("/orders")
    async def order(order: Order) -> dict[str, int]:
        return {"k": order.k}

    @app.post("/stream")
    async def stream(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.get("/busy")
    async def busy() -> None:
        raise OverloadedError("the queue holds 256 requests", retry_after_s=3)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    return app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def test_a_wrong_field_is_named_without_the_word_body(client):
    answer = await client.post("/orders", json={"k": 0})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.json()["errors"] == [
        {"field": "k", "message": "Input should be greater than or equal to 1"}
    ]


async def test_json_that_cannot_be_read_is_a_problem(client):
    answer = await client.post("/orders", content=b'{"k": ')

    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM_JSON


async def test_a_full_queue_says_when_to_come_back(client):
    answer = await client.get("/busy")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"


async def test_an_unknown_path_is_a_problem_document(client):
    answer = await client.get("/nowhere")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.json()["title"] == "Not Found"


async def test_an_unforeseen_error_tells_nothing_of_the_inside(client):
    answer = await client.get("/broken")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert "secret" not in answer.text


async def test_a_declared_body_above_the_limit_is_refused(client):
    answer = await client.post("/orders", content=b"x" * 101)

    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "body"


async def test_a_streamed_body_above_the_limit_is_refused(client):
    async def chunks():
        for _ in range(11):
            yield b"x" * 10

    answer = await client.post("/orders", content=chunks())

    assert answer.status_code == 413


async def test_a_path_without_a_limit_takes_any_body(client):
    answer = await client.post("/stream", content=b"x" * 1000)

    assert answer.json() == {"bytes": 1000}


async def test_a_service_that_is_not_ready_says_why():
    async def ready() -> dict[str, str]:
        raise UnavailableError("the encoder is still loading")

    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(health_routes(ready))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["detail"] == "the encoder is still loading"


@pytest.fixture
def incoming():
    """What the client sends after its body."""
    return asyncio.Queue()


@pytest.fixture
def request_of_a_client(incoming):
    return Request({"type": "http"}, incoming.get)


async def test_work_of_a_client_that_stays_is_done(request_of_a_client):
    async def work():
        return 7

    assert await unless_disconnected(request_of_a_client, work()) == 7


async def test_an_error_of_the_work_is_raised(request_of_a_client):
    async def work():
        raise OverloadedError("the queue is full")

    with pytest.raises(OverloadedError):
        await unless_disconnected(request_of_a_client, work())


async def test_work_of_a_client_that_went_away_is_cancelled_and_has_ended(
    request_of_a_client, incoming
):
    steps = []

    async def work():
        steps.append("begun")
        incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        incoming.put_nowait({"type": "http.disconnect"})
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    with pytest.raises(AbandonedError):
        await unless_disconnected(request_of_a_client, work())
    assert steps == ["begun", "ended"]


async def test_a_handler_that_is_cancelled_takes_its_work_with_it(request_of_a_client):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    handler = asyncio.create_task(unless_disconnected(request_of_a_client, work()))
    await begun.wait()
    handler.cancel()
    await asyncio.wait([handler])
    assert handler.cancelled()
    assert ended.is_set()
