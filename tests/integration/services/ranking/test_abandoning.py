"""Over a real socket: clients that do not wait for their answer."""

import asyncio

import httpx
import pytest
from prometheus_client import REGISTRY

from services.ranking.app import create_app

pytestmark = pytest.mark.integration


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def computed():
    """Requests that reached the LLM."""
    return value("mmesid_ranking_batch_size_sum")


def abandoned():
    return value("mmesid_ranking_cancelled_total", cause="disconnect")


@pytest.fixture
async def ranking(make_shop, serve, until):
    """A running service that computes one request at a time, and its engine."""
    shop = await make_shop(ranking={"max_batch": 1, "deadline_s": 60})
    await shop.publish("b1")
    app = create_app(shop.settings)
    async with serve(app) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def served():
            return app.state.service.follower.active("default") == "b1"

        await until(served)
        engine = app.state.service.follower.held("default")["b1"].engine
        yield client, engine


def ask(client, **body):
    request = {"catalog_id": "default", "history": ["item-00", "item-06"], "k": 3, **body}
    return asyncio.create_task(client.post("/rank", json=request))


@pytest.mark.parametrize("names", [0, 20_000], ids=["small body", "large body"])
async def test_a_request_whose_client_goes_away_while_it_waits_never_reaches_the_llm(
    ranking, until, names
):
    client, engine = ranking
    filters = {"deny": [f"nobody-{n}" for n in range(names)]}
    computed_before, abandoned_before = computed(), abandoned()

    async def one_is_computed():
        return computed() == computed_before + 1

    async def one_waits():
        return engine._batcher.waiting == 1

    async def one_was_given_up():
        return abandoned() == abandoned_before + 1

    with engine._scorer.hold:  # the first one is computed until this is let go
        first = ask(client)
        await until(one_is_computed)
        second = ask(client, filter=filters)
        await until(one_waits)
        second.cancel()
        await until(one_was_given_up)
        assert engine._batcher.waiting == 0
    assert (await first).json()["source"] == "ranker"
    assert (await ask(client)).json()["source"] == "ranker"
    assert computed() == computed_before + 2
    assert abandoned() == abandoned_before + 1


async def test_a_request_past_its_deadline_never_reaches_the_llm(ranking, until):
    client, engine = ranking
    before = computed()

    async def one_is_computed():
        return computed() == before + 1

    with engine._scorer.hold:
        first = ask(client)
        await until(one_is_computed)
        late = await ask(client, deadline_ms=20)
        assert (late.json()["source"], late.json()["fallback"]) == ("sasrec", "deadline")
        assert engine._batcher.waiting == 0
    assert (await first).json()["fallback"] is None
    assert computed() == before + 1


async def test_the_waiting_requests_are_those_that_are_queued_or_computed(ranking, until):
    client, engine = ranking

    async def three_wait():
        return value("mmesid_ranking_waiting_requests") == 3

    assert value("mmesid_ranking_waiting_requests") == 0
    with engine._scorer.hold:
        asked = [ask(client) for _ in range(3)]
        await until(three_wait)
    await asyncio.gather(*asked)
    assert value("mmesid_ranking_waiting_requests") == 0


async def test_clients_that_stay_are_answered_while_others_leave(ranking, until):
    client, _ = ranking
    asked = [ask(client) for _ in range(60)]
    await asyncio.sleep(0)
    for leaving in asked[::2]:
        leaving.cancel()
    staying = await asyncio.gather(*asked[1::2])
    assert {answer.status_code for answer in staying} == {200}
    assert {answer.json()["source"] for answer in staying} == {"ranker"}
