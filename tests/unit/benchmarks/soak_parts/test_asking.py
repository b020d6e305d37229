import httpx
import pytest

from benchmarks.soak_parts.asking import Asker
from benchmarks.soak_parts.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def asked(ledger):
    """Asks one request of a server that answers so; gives what `ask` gave."""

    async def ask(answer, **request):
        def respond(_: httpx.Request) -> httpx.Response:
            if isinstance(answer, Exception):
                raise answer
            return answer

        transport = httpx.MockTransport(respond)
        async with httpx.AsyncClient(base_url="http://gateway", transport=transport) as client:
            return await Asker(client, ledger).ask("items", "POST", "/v1/items", **request)

    return ask


async def test_the_documented_success_is_no_failure(asked, ledger):
    body = await asked(httpx.Response(201, json={"item_id": "a"}), expected=(201, 202))

    assert body == {"item_id": "a"}
    assert [(one.kind, one.failure) for one in ledger.requests] == [("items", None)]


@pytest.mark.parametrize("status", [200, 429, 500, 503])
async def test_any_other_status_is_a_failure_and_nothing_is_sent_again(asked, ledger, status):
    body = await asked(httpx.Response(status, json={"detail": "why"}), expected=(201,))

    assert body is None
    (request,) = ledger.requests
    assert str(status) in request.failure
    assert "why" in request.failure


async def test_no_answer_is_a_failure(asked, ledger):
    assert await asked(httpx.ReadTimeout("too long")) is None
    assert "too long" in ledger.requests[0].failure


async def test_an_answer_that_is_no_json_is_a_failure(asked, ledger):
    assert await asked(httpx.Response(200, text="<html>")) is None
    assert ledger.requests[0].failure is not None


async def test_an_objection_to_the_body_is_a_failure(asked, ledger):
    answer = httpx.Response(200, json={"items": []})

    assert await asked(answer, objection=lambda body: f"{len(body['items'])} items") is None
    assert ledger.requests[0].failure.endswith("0 items")
