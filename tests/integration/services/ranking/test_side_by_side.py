"""Two bundles at once: requests that name theirs, while the live one changes."""

import asyncio
from itertools import cycle

import numpy as np
import pytest
import torch

from services.ranking.app import create_app
from shared.modeling.ranker import Ranker

pytestmark = pytest.mark.integration
HISTORIES = [["item-00", "item-06", "item-12"], ["item-05"], ["item-20", "item-03"]]


@pytest.fixture
async def shop(make_shop):
    return await make_shop(ranking={"deadline_s": 60})


def own_rankings(bundle):
    """The ten best unseen items of each history, by the bundle's own ranker."""
    ranker = Ranker.load(bundle.ranker).requires_grad_(False)
    rankings = []
    for history in HISTORIES:
        rows = np.array([int(item[-2:]) for item in history])
        scores = ranker.score([rows])[0]
        scores[rows] = -torch.inf
        best = scores.argsort(descending=True)[:10]
        rankings.append([bundle.catalogue.item_ids[row] for row in best])
    return rankings


async def test_two_bundles_answer_side_by_side_through_a_switch_and_a_rollback(
    shop, running_service
):
    bundles = {"b1": await shop.publish("b1"), "b2": await shop.publish("b2", seed=1, live=False)}
    own = {version: own_rankings(bundle) for version, bundle in bundles.items()}
    assert own["b1"] != own["b2"]
    async with running_service(create_app(shop.settings)) as client:
        loaded = await client.post("/bundles/load", json={"catalog_id": "default", "version": "b2"})
        assert loaded.status_code == 200, loaded.text
        answers, running = [], True

        async def ask(named):
            for n in cycle(range(len(HISTORIES))):
                if not running:
                    return
                body = {"catalog_id": "default", "history": HISTORIES[n], "k": 10, "bundle": named}
                answers.append((named, n, await client.post("/rank", json=body)))

        async def answered(more):
            wanted = len(answers) + more
            while len(answers) < wanted:
                await asyncio.sleep(0.005)

        asking = [asyncio.create_task(ask(named)) for named in ("b1", "b2", "b1", "b2", None)]
        for version in ("b2", "b1", "b2", "b1"):
            await answered(20)
            await shop.make_live(version)
            reference = {"catalog_id": "default", "version": version}
            active = await client.post("/bundles/activate", json=reference)
            assert active.json()["active"] == version
            assert active.json()["loaded"] == ["b1", "b2"]
        await answered(20)
        running = False
        await asyncio.gather(*asking)

    for named, n, answer in answers:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert named in (None, body["bundle"])
        assert (body["source"], body["fallback"]) == ("ranker", None)
        assert [item["item_id"] for item in body["items"]] == own[body["bundle"]][n]
    assert {named for named, _, _ in answers} == {"b1", "b2", None}


async def test_a_bundle_that_is_not_loaded_cannot_be_asked(shop, running_service):
    await shop.publish("b1")
    await shop.publish("b2", seed=1, live=False)
    async with running_service(create_app(shop.settings)) as client:
        body = {"catalog_id": "default", "history": ["item-00"], "k": 3, "bundle": "b2"}
        response = await client.post("/rank", json=body)
        assert response.status_code == 503
        assert "Retry-After" in response.headers
