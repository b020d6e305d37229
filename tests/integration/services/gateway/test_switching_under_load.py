"""The gateway before the real services, asked all the time while operators change what answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import httpx
import pytest

from services.gateway.app import create_app as create_gateway
from services.gateway.traffic_split import place_of
from services.ranking.app import create_app as create_ranking
from services.tokenization.app import create_app as create_tokenization
from shared.database.api_keys import ApiKeyRepository, Scope

pytestmark = pytest.mark.integration

USERS = [f"user-{number}" for number in range(40)]


@dataclass
class Platform:
    """Answers: (user, status, body) of all that were asked."""

    client: httpx.AsyncClient
    answers: list = field(default_factory=list)

    async def keep_asking(self) -> None:
        for number in count():
            user = USERS[number % len(USERS)]
            await self.ask(user)

    async def ask(self, user: str) -> dict:
        request = {"user_id": user, "history": ["item-00", "item-06"], "k": 5}
        answer = await self.client.post("/v1/recommendations", json=request)
        self.answers.append((user, answer.status_code, answer.json()))
        return answer.json()

    async def answered(self, more: int) -> None:
        wanted = len(self.answers) + more
        while len(self.answers) < wanted:
            await asyncio.sleep(0.005)

    async def admin(self, method: str, path: str, **request) -> dict:
        answer = await self.client.request(method, f"/v1/admin/{path}", **request)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def platform(make_shop, make_settings, serve, until) -> AsyncIterator[Platform]:
    shop = await make_shop(ranking={"deadline_s": 60})
    await shop.publish("b1")
    await shop.publish("b2", seed=1, live=False)
    tokenization, ranking = create_tokenization(shop.settings), create_ranking(shop.settings)
    async with serve(tokenization) as tokenization_url, serve(ranking) as ranking_url:
        settings = make_settings(
            services={
                "tokenization": tokenization_url,
                "ranking": ranking_url,
                "embedding": "http://127.0.0.1:9",
                "timeout_s": 60,
            }
        )
        async with shop.database.transaction() as session:
            key = await ApiKeyRepository(session).create(
                "default", name="test", scopes=(Scope.ADMIN,)
            )
        async with (
            serve(create_gateway(settings)) as gateway,
            httpx.AsyncClient(
                base_url=gateway,
                headers={"Authorization": f"Bearer {key}"},
                timeout=120,
                trust_env=False,
            ) as client,
        ):

            async def served():
                apps = (tokenization, ranking)
                return {app.state.service.follower.active("default") for app in apps} == {"b1"}

            await until(served)
            yield Platform(client)


async def test_no_request_fails_while_bundles_are_activated_rolled_back_and_split(platform):
    asking = [asyncio.create_task(platform.keep_asking()) for _ in range(3)]

    await platform.answered(20)
    for path, version in (
        ("bundles/b2/activate", "b2"),
        ("bundles/rollback", "b1"),
        ("bundles/rollback", "b2"),
        ("bundles/b1/activate", "b1"),
    ):
        live = await platform.admin("POST", path)
        assert (live["version"], live["state"]) == (version, "live")
        assert (await platform.ask("somebody"))["bundle"] == version
        await platform.answered(20)

    await platform.admin("PUT", "traffic", json={"shares": [{"version": "b2", "percent": 50}]})
    begin = len(platform.answers) + len(asking)  # those that were under way
    await platform.answered(2 * len(USERS))
    split = platform.answers[begin:]
    await platform.admin("PUT", "traffic", json={"shares": []})
    await platform.answered(20)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)

    assert [body for _, status, body in platform.answers if status != 200] == []
    assert {body["fallback"] for _, _, body in platform.answers} == {None}
    assert {len(body["items"]) for _, _, body in platform.answers} == {5}
    for user, _, body in split:
        assert body["bundle"] == ("b2" if place_of("default", user) < 50 else "b1")
