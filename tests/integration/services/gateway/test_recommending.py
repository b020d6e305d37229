"""Recommendations through the gateway and the real ranking service."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from services.gateway.app import create_app as create_gateway
from services.ranking.app import create_app as create_ranking
from shared.database.api_keys import ApiKeyRepository, Scope

pytestmark = pytest.mark.integration


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def computed():
    """Requests that reached the LLM."""
    return value("mmesid_ranking_batch_size_sum")


def abandoned():
    return value("mmesid_ranking_cancelled_total", cause="disconnect")


def gateway_answers(status):
    return value(
        "mmesid_gateway_requests_total",
        method="POST",
        route="/v1/recommendations",
        status=str(status),
    )


@dataclass
class Platform:
    client: httpx.AsyncClient
    engine: Any
    until: Any

    def ask(self, **body: Any) -> asyncio.Task[httpx.Response]:
        request = {"history": ["item-00", "item-06"], "k": 5, **body}
        return asyncio.create_task(self.client.post("/v1/recommendations", json=request))

    async def one_is_computed_and_one_waits(self, held: ExitStack) -> tuple[Any, Any]:
        """The engine is busy with the first, and the second waits, until `held` is closed."""
        before = computed()
        held.enter_context(self.engine._scorer.hold)
        first = self.ask()
        await self.until(self._computed(before + 1))
        second = self.ask()
        await self.until(self._waiting(1))
        return first, second

    def _computed(self, wanted: float) -> Any:
        async def reached():
            return computed() == wanted

        return reached

    def _waiting(self, wanted: int) -> Any:
        async def reached():
            return self.engine._batcher.waiting == wanted

        return reached


@pytest.fixture
async def platform(make_shop, make_settings, serve, until):
    shop = await make_shop(ranking={"max_batch": 1, "queue_size": 1, "deadline_s": 60})
    await shop.publish("b1")
    ranking = create_ranking(shop.settings)
    async with serve(ranking) as url:
        settings = make_settings(services={"ranking": url, "timeout_s": 60})
        async with shop.database.transaction() as session:
            key = await ApiKeyRepository(session).create(
                "default", name="test", scopes=(Scope.READ,)
            )
        async with (
            serve(create_gateway(settings)) as gateway,
            httpx.AsyncClient(
                base_url=gateway,
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
                trust_env=False,
            ) as client,
        ):

            async def served():
                return ranking.state.service.follower.active("default") == "b1"

            await until(served)
            engine = ranking.state.service.follower.held("default")["b1"].engine
            yield Platform(client, engine, until)


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(platform, is_problem):
    with ExitStack() as held:
        first, second = await platform.one_is_computed_and_one_waits(held)
        refused = await platform.ask()
        is_problem(refused, 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["type"] == "urn:mmesid:problem:overloaded"
    assert (await first).status_code == (await second).status_code == 200


async def test_who_leaves_the_gateway_leaves_the_rankings_queue(platform):
    before, left, answers = computed(), abandoned(), gateway_answers(499)
    with ExitStack() as held:
        first, second = await platform.one_is_computed_and_one_waits(held)
        second.cancel()

        async def both_know():
            return abandoned() == left + 1 and gateway_answers(499) == answers + 1

        await platform.until(both_know)
        assert platform.engine._batcher.waiting == 0
    assert (await first).json()["source"] == "ranker"
    assert computed() == before + 1


async def test_after_clients_that_left_at_any_moment_the_gateway_answers(platform):
    """The connections that they held, to the database and to the ranking, are not lost."""
    for turn in range(40):
        leaving = platform.ask()
        await asyncio.sleep(turn / 2000)
        leaving.cancel()
    answer = await platform.ask()
    while answer.status_code == 429:  # those that left may not all be gone yet
        answer = await platform.ask()
    assert answer.status_code == 200
    assert answer.json()["source"] == "ranker"


async def test_a_fallback_is_marked_in_the_public_answer(platform):
    ranked = (await platform.ask()).json()
    assert (ranked["source"], ranked["fallback"]) == ("ranker", None)

    await platform.engine.close()  # from here on it is not there

    answer = await platform.ask()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["source"], body["fallback"]) == ("sasrec", "engine_unavailable")
    assert len(body["items"]) == 5
    assert all(item["title"] and item["shares"] is None for item in body["items"])
