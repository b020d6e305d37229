import re

import httpx
import pytest

from services.gateway.app import create_app
from services.gateway.item_reading import ItemReader

pytestmark = pytest.mark.integration


async def test_unknown_routes_and_methods_are_problems(client, is_problem):
    is_problem(await client.get("/nowhere"), 404)
    is_problem(await client.get("/v1/items:batch"), 405)
    is_problem(await client.put("/v1/items", json={}), 405)


async def test_a_request_id_is_echoed_and_made_up_where_it_is_missing_or_unfit(client):
    given = await client.get("/health/live", headers={"X-Request-ID": "from-the-shop.1"})
    unfit = await client.get("/health/live", headers={"X-Request-ID": "a b\tc"})
    missing = await client.get("/v1/items")

    assert given.headers["x-request-id"] == "from-the-shop.1"
    assert re.fullmatch("[0-9a-f]{32}", unfit.headers["x-request-id"])
    assert re.fullmatch("[0-9a-f]{32}", missing.headers["x-request-id"])


async def test_ready_needs_the_database_alone_and_reports_the_others(start_gateway, stand_ins):
    gateway = await start_gateway(services={"ranking": "http://127.0.0.1:9"})

    answer = await gateway.client.get("/health/ready")

    assert answer.status_code == 200
    state = answer.json()
    assert (state["status"], state["database"], state["redis"]) == ("ready", "ready", "ready")
    assert state["ranking"].startswith("unreachable")
    assert state["embedding"] == "not ready: 404"  # the stand-in has no health route


async def test_without_a_database_the_gateway_lives_but_is_not_ready(start_gateway, is_problem):
    gateway = await start_gateway(live=True)
    away = "postgresql+psycopg://mmesid@127.0.0.1:9/mmesid"
    settings = gateway.settings.model_copy(
        update={"database": gateway.settings.database.model_copy(update={"url": away})}
    )
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
    ):
        assert (await client.get("/health/live")).status_code == 200
        is_problem(await client.get("/health/ready"), 503, cause="database")
        answer = await client.get("/v1/items", headers={"Authorization": "Bearer mme_some-key"})
        is_problem(answer, 503, cause="database")
        assert "retry-after" in answer.headers


async def test_an_error_nobody_foresaw_is_a_problem_without_its_inside(
    gateway, is_problem, monkeypatch
):
    async def broken(*_, **__):
        raise RuntimeError("the inside of the house")

    monkeypatch.setattr(ItemReader, "page", broken)

    answer = await gateway.client.get("/v1/items", headers={"X-Request-ID": "find-me"})

    is_problem(answer, 500)
    assert "inside" not in answer.text
    assert answer.headers["x-request-id"] == "find-me"


async def test_requests_are_counted_and_timed_by_route_and_not_by_path(client):
    await client.get("/v1/items/some-item-nobody-has")
    await client.get("/some/path/nobody/has")

    metrics = (await client.get("/metrics")).text

    line = 'method="GET",route="/v1/items/{item_id}",status="404"'
    assert f"mmesid_gateway_requests_total{{{line}}}" in metrics
    assert 'mmesid_gateway_request_seconds_bucket{le="0.005",method="GET"' in metrics
    assert 'route="unmatched",status="404"' in metrics
    assert "nobody" not in metrics


async def test_the_openapi_document_describes_every_route_with_its_problems(client):
    document = (await client.get("/openapi.json")).json()

    assert len(document["paths"]) == 24
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["tags"], path
            assert operation["summary"], path
            assert operation["security"], path
            for status in ("401", "403", "422", "503"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], (path, status)
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    create = document["paths"]["/v1/items"]["post"]["requestBody"]["content"]
    assert create["application/json"]["schema"]["example"]["item_id"]
    assert set(create) == {"application/json", "multipart/form-data"}
    for name in set(re.findall(r"#/components/schemas/(\w+)", str(document))):
        assert name in schemas, name
