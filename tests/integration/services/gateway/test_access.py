import httpx
import pytest
from sqlalchemy import text

from services.gateway import access
from shared.database.api_keys import Scope

pytestmark = pytest.mark.integration

ROUTES = [
    ("POST", "/v1/items", Scope.WRITE),
    ("GET", "/v1/items", Scope.READ),
    ("GET", "/v1/items/x", Scope.READ),
    ("PATCH", "/v1/items/x", Scope.WRITE),
    ("DELETE", "/v1/items/x", Scope.WRITE),
    ("GET", "/v1/items/x/similar", Scope.READ),
    ("POST", "/v1/items:batch", Scope.WRITE),
    ("POST", "/v1/events", Scope.WRITE),
    ("POST", "/v1/events:batch", Scope.WRITE),
    ("GET", "/v1/users/u/events", Scope.READ),
    ("DELETE", "/v1/users/u", Scope.WRITE),
    ("POST", "/v1/recommendations", Scope.READ),
    ("POST", "/v1/admin/trainings", Scope.ADMIN),
    ("GET", "/v1/admin/trainings", Scope.ADMIN),
    ("GET", "/v1/admin/trainings/0f8fad5b-d9cb-469f-a165-70867728950e", Scope.ADMIN),
    ("POST", "/v1/admin/trainings/0f8fad5b-d9cb-469f-a165-70867728950e/cancel", Scope.ADMIN),
    ("GET", "/v1/admin/bundles", Scope.ADMIN),
]


async def test_every_route_needs_a_key_that_is_known(gateway, is_problem):
    headers = [
        {},
        {"Authorization": "Bearer mme_wrong"},
        {"Authorization": "Bearer no-key-of-ours"},
        {"Authorization": "Basic bW1lOnNlY3JldA=="},
        {"Authorization": "Bearer"},
    ]
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        for method, path, _ in ROUTES:
            for sent in headers:
                answer = await client.request(method, path, headers=sent)
                is_problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_opens_the_routes_of_its_scopes_alone(gateway, is_problem):
    for scope in (Scope.READ, Scope.WRITE):
        client = await gateway.client_for("shop", scope)
        for method, path, needed in ROUTES:
            answer = await client.request(method, path)
            if needed is scope:
                assert answer.status_code not in (401, 403), (method, path)
            else:
                is_problem(answer, 403, cause=repr(needed.value))


async def test_the_scope_admin_implies_the_others(client):
    for method, path, _ in ROUTES:
        assert (await client.request(method, path)).status_code not in (401, 403), (method, path)


async def test_a_revoked_key_is_refused_once_it_is_forgotten(gateway, is_problem, monkeypatch):
    monkeypatch.setattr(access, "KNOWN_FOR_S", 0.0)
    client = await gateway.client_for("shop", Scope.READ)
    assert (await client.get("/v1/items")).status_code == 200

    async with gateway.database.transaction() as session:
        await session.execute(text("UPDATE api_keys SET revoked_at = now()"))

    is_problem(await client.get("/v1/items"), 401)


async def test_a_known_key_is_not_looked_up_for_every_request(gateway):
    client = await gateway.client_for("shop", Scope.READ)
    await client.get("/v1/items")

    async with gateway.database.transaction() as session:
        await session.execute(text("DELETE FROM api_keys"))

    assert (await client.get("/v1/items")).status_code == 200
