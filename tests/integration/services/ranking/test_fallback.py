"""What is answered while the engine is not there, or too slow."""

import asyncio
import shutil

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.ranking.app import create_app
from services.ranking.engines.opening import open_engine
from shared.errors import UnavailableError
from shared.modeling.sasrec import SASRec

pytestmark = pytest.mark.integration
HISTORY = ["item-00", "item-06", "item-12"]
ROWS = np.array([0, 6, 12])


class Unsteady:
    """The real engine, behind a process that can end, or stall."""

    def __init__(self, engine):
        self._engine = engine
        self.is_ready = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = self.cancelled = 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def rank(self, query):
        self.asked += 1
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if not self.is_ready:
            raise UnavailableError("The engine is starting again.")
        return await self._engine.rank(query)


@pytest.fixture
def engines(monkeypatch):
    """The engines that the service opened, in their order."""
    opened = []

    async def open_unsteady(bundle, settings):
        engine, choice = await open_engine(bundle, settings)
        opened.append(Unsteady(engine))
        return opened[-1], choice

    monkeypatch.setattr("services.ranking.served_bundle.open_engine", open_unsteady)
    return opened


@pytest.fixture
async def shop(make_shop):
    return await make_shop(ranking={"deadline_s": 60})


@pytest.fixture
async def bundle(shop):
    return await shop.publish("b1")


@pytest.fixture
async def client(shop, bundle, engines, running_service):
    async with running_service(create_app(shop.settings)) as client:
        yield client


@pytest.fixture
def engine(client, engines):
    return engines[0]


@pytest.fixture
def order(bundle):
    """Items it was trained on by SASRec's own scores after a history, the seen ones left out."""
    trained = bundle.catalogue.frequency > 0
    assert 0 < (~trained).sum() < 10
    model = SASRec.load(bundle.collaborative)

    def of(*rows):
        scores = model.score([np.asarray(rows)])[0].numpy()
        best = np.argsort(-scores, kind="stable")
        return [f"item-{row:02d}" for row in best if trained[row] and row not in rows]

    return of


async def rank(client, history=HISTORY, k=10, **body):
    response = await client.post(
        "/rank", json={"catalog_id": "default", "history": list(history), "k": k, **body}
    )
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def marks(answer):
    return answer["source"], answer["fallback"]


def ranked(source, fallback):
    labels = {"source": source, "fallback": fallback}
    return REGISTRY.get_sample_value("mmesid_ranked_total", labels) or 0.0


def cancelled(cause):
    return REGISTRY.get_sample_value("mmesid_ranking_cancelled_total", {"cause": cause}) or 0.0


async def test_without_the_engine_sasrec_ranks_and_the_answer_says_so(client, engine, order):
    before = ranked("sasrec", "engine_unavailable")
    assert marks(await rank(client)) == ("ranker", None)

    engine.is_ready = False
    answer = await rank(client, ["nobody", *HISTORY], k=20)

    assert marks(answer) == ("sasrec", "engine_unavailable")
    assert ids(answer) == order(*ROWS)[:20]
    assert (answer["bundle"], answer["unknown_items"]) == ("b1", ["nobody"])
    assert all(item["shares"] is None for item in answer["items"])
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert ranked("sasrec", "engine_unavailable") == before + 1


async def test_seen_items_come_back_only_when_asked_for(client, engine, order):
    engine.is_ready = False
    everything = ids(await rank(client, k=1000, exclude_seen=False))
    assert set(HISTORY) < set(everything)
    unseen = ids(await rank(client, k=1000))
    assert unseen == order(*ROWS) == [item for item in everything if item not in HISTORY]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"categories": ["kind-1", "kind-2"]}, lambda row: row % 6 in (1, 2)),
        ({"attributes": {"size": [0, 1.0], "new": True}}, lambda r: r % 3 < 2 and r % 5 == 0),
        ({"allow": ["item-20", "item-21", "nobody"]}, lambda row: row in (20, 21)),
        ({"deny": ["item-20"], "categories": ["odd", "even"]}, lambda row: row != 20),
    ],
)
async def test_filters_are_exact(client, engine, order, wanted, fits):
    engine.is_ready = False
    answer = await rank(client, k=1000, filter=wanted)
    assert answer["source"] == "sasrec"
    assert ids(answer) == [item for item in order(*ROWS) if fits(int(item[-2:]))]


async def test_a_filter_that_leaves_nothing_is_obeyed(client, engine):
    engine.is_ready = False
    answer = await rank(client, filter={"categories": ["no such kind"]})
    assert (answer["items"], answer["fallback"]) == ([], "engine_unavailable")


async def test_removed_items_vanish_at_once(client, engine):
    engine.is_ready = False
    best = ids(await rank(client))[0]
    params = {"catalog_id": "default", "version": 2}
    assert (await client.delete(f"/items/{best}", params=params)).status_code == 200
    assert best not in ids(await rank(client, k=1000))
    assert best not in ids(await rank(client, filter={"allow": [best]}))


async def test_later_items_are_left_to_the_ranker_and_to_popularity(client, engine, bundle):
    catalogue = bundle.catalogue
    late = {
        "item_id": "late",
        "version": 1,
        "vectors": {j.value: table[12].tolist() for j, table in catalogue.embeddings.items()},
        "codes": {j.value: table[12].tolist() for j, table in bundle.sids().items()},
    }
    body = {"catalog_id": "default", "bundle": "b1", "items": [late]}
    assert (await client.put("/items", json=body)).status_code == 200
    assert "late" in ids(await rank(client, k=1000))

    engine.is_ready = False

    answer = await rank(client, k=1000)
    assert (answer["source"], "late" in ids(answer)) == ("sasrec", False)
    only_late = await rank(client, filter={"allow": ["late"]})
    assert (marks(only_late), ids(only_late)) == (("popularity", "engine_unavailable"), ["late"])
    unknown_to_sasrec = await rank(client, ["late"], k=1000)
    assert marks(unknown_to_sasrec) == ("popularity", "engine_unavailable")
    assert "late" not in ids(unknown_to_sasrec)
    assert len(ids(unknown_to_sasrec)) == 60


async def test_an_empty_history_needs_no_engine(client, engine):
    engine.is_ready = False
    assert marks(await rank(client, [])) == ("popularity", None)


async def test_a_history_of_unknown_items_only_is_refused_all_the_same(client, engine):
    engine.is_ready = False
    body = {"catalog_id": "default", "history": ["nobody"], "k": 3}
    assert (await client.post("/rank", json=body)).status_code == 422


async def test_a_bundle_made_without_sasrec_falls_back_to_popularity(
    shop, bundle, engines, running_service
):
    shutil.rmtree(bundle.collaborative)
    async with running_service(create_app(shop.settings)) as client:
        popular = await rank(client, [], k=1000)
        engines[0].is_ready = False
        answer = await rank(client, k=1000)
        assert marks(answer) == ("popularity", "engine_unavailable")
        assert ids(answer) == [item for item in ids(popular) if item not in HISTORY]


async def test_a_bundle_whose_sasrec_is_broken_is_not_served(shop, bundle, client):
    broken = await shop.publish("b2", seed=1, live=False)
    (broken.collaborative / "sasrec.safetensors").unlink()
    reference = {"catalog_id": "default", "version": "b2"}
    assert (await client.post("/bundles/load", json=reference)).status_code == 503
    assert (await rank(client))["bundle"] == "b1"


async def test_while_the_engine_starts_again_the_service_is_ready_and_says_so(client, engine):
    ready = (await client.get("/health/ready")).json()
    assert ready["engines"] == {"default": {"name": "transformers", "engine_ready": True}}

    engine.is_ready = False
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["engines"]["default"]["engine_ready"] is False
    assert (await client.get("/bundles")).json()[0]["engine_ready"] is False

    engine.is_ready = True
    assert (await client.get("/health/ready")).json() == ready
    assert marks(await rank(client)) == ("ranker", None)


async def test_past_the_deadline_the_engine_is_stopped_and_sasrec_ranks(client, engine, order):
    before = cancelled("deadline"), ranked("sasrec", "deadline")
    engine.answers.clear()

    answer = await rank(client, k=20, deadline_ms=1)

    assert marks(answer) == ("sasrec", "deadline")
    assert ids(answer) == order(*ROWS)[:20]
    assert engine.cancelled == 1
    assert (cancelled("deadline"), ranked("sasrec", "deadline")) == (before[0] + 1, before[1] + 1)


async def test_items_that_come_and_go_while_a_request_waits_do_not_disturb_its_fallback(
    client, engine, bundle, order, until
):
    async def it_waits():
        return engine.asked == 1

    engine.answers.clear()
    filters = {"attributes": {"color": "red"}}
    waiting = asyncio.create_task(rank(client, k=1000, filter=filters))
    await until(it_waits)
    late = {
        "version": 1,
        "vectors": {j.value: t[12].tolist() for j, t in bundle.catalogue.embeddings.items()},
        "codes": {j.value: table[12].tolist() for j, table in bundle.sids().items()},
        "attributes": {"color": "red"},
    }
    body = {"catalog_id": "default", "bundle": "b1", "items": [{"item_id": "late", **late}]}
    assert (await client.put("/items", json=body)).status_code == 200
    await client.delete("/items/item-30", params={"catalog_id": "default", "version": 2})

    engine.is_ready = False
    engine.answers.set()

    answer = await waiting
    assert marks(answer) == ("sasrec", "engine_unavailable")
    assert ids(answer) == [item for item in order(*ROWS) if item != "item-30"]


async def test_the_settings_say_what_the_deadline_is_where_the_request_does_not(
    make_shop, engines, running_service
):
    shop = await make_shop(ranking={"deadline_s": 0.05})
    await shop.publish("b1")
    async with running_service(create_app(shop.settings)) as client:
        engines[0].answers.clear()
        assert (await rank(client))["fallback"] == "deadline"
