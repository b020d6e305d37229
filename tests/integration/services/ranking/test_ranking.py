"""The ranking service over a tiny real bundle and Postgres."""

import asyncio

import numpy as np
import pytest
import torch

from services.ranking.app import create_app
from shared.database.items import ItemContent
from shared.modeling.imputation import blend
from shared.modeling.modality import Modality
from shared.modeling.ranker import Ranker

C, T, V = Modality.COLLABORATIVE, Modality.TEXT, Modality.VISUAL
pytestmark = pytest.mark.integration
HISTORY = ["item-00", "item-06", "item-12"]
ROWS = np.array([0, 6, 12])


@pytest.fixture
async def shop(make_shop):
    return await make_shop()


@pytest.fixture
async def bundle(shop):
    return await shop.publish("b1")


@pytest.fixture
async def client(shop, bundle, running_service):
    async with running_service(create_app(shop.settings)) as client:
        yield client


@pytest.fixture
def ranker(bundle):
    return Ranker.load(bundle.ranker).requires_grad_(False)


async def rank(client, history=HISTORY, k=10, catalog_id="default", **body):
    return await client.post(
        "/rank", json={"catalog_id": catalog_id, "history": list(history), "k": k, **body}
    )


def ids(response):
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def cold_item(bundle, near, seed=0):
    """An item like row `near`, with its true neighbours' weights made up."""
    random = np.random.default_rng(seed)
    embeddings = bundle.catalogue.embeddings
    vectors = {
        j: table[near] + 0.05 * random.normal(size=table.shape[1]).astype(np.float32)
        for j, table in embeddings.items()
    }
    codes = {j: table[near].tolist() for j, table in bundle.sids().items()}
    return vectors, codes, [("item-03", 0.75), ("item-09", 0.25)]


async def put(client, item_id, made, *, version=1, bundle="b1", catalog_id="default", **extra):
    vectors, codes, neighbours = made
    item = {
        "item_id": item_id,
        "version": version,
        "vectors": {j.value: v.tolist() for j, v in vectors.items()},
        "codes": {j.value: c for j, c in codes.items()},
        "neighbours": [{"item_id": i, "weight": w} for i, w in neighbours],
        **extra,
    }
    body = {"catalog_id": catalog_id, "bundle": bundle, "items": [item]}
    return await client.put("/items", json=body)


def eq_18(ranker, state, target, embeddings, q):
    """Parts x, c, t, v [4] of one item's score, straight from the equation."""
    head, encoder = ranker.fusion_head, ranker.item_encoder
    logs = torch.log1p(head.frequency.float())
    normalized = (torch.log1p(torch.tensor(float(q))) - logs.min()) / (logs.max() - logs.min())
    hidden = torch.tanh(head.widen(normalized.reshape(1)))
    weights = torch.softmax(head.narrow(hidden) / head.temperature, dim=-1)
    parts = [weights[0] * (state @ target)]
    for place, j in enumerate((C, T, V), start=1):
        projection = encoder.projections[j]
        projected = projection.weight @ torch.as_tensor(embeddings[j]) + projection.bias
        parts.append(weights[place] * (state @ projected))
    return torch.stack(parts)


def sequence_share(ranker, rows, item):
    """w h S: SASRec reads the same rows, and its state meets the item's [D_s]."""
    part = ranker.sequence_part
    state = part.reader(part.items[rows][None])[0, -1]
    return part.weight * float(state @ item)


async def test_scores_and_shares_are_equation_18_term_by_term_and_sasrecs(client, bundle, ranker):
    response = await rank(client, k=57)
    items = response.json()["items"]
    assert len(items) == 57
    [state] = ranker.hidden_states([ROWS])
    catalogue = bundle.catalogue
    for item in items:
        row = catalogue.item_ids.index(item["item_id"])
        parts = eq_18(
            ranker,
            state,
            ranker.fusion_head.target_table[row],
            {j: table[row] for j, table in catalogue.embeddings.items()},
            catalogue.frequency[row],
        )
        sequence = sequence_share(ranker, ROWS, ranker.sequence_part.items[row])
        assert item["score"] == pytest.approx(float(parts.sum()) + sequence, abs=1e-4)
        shares = item["shares"]
        assert shares["sequence"] == pytest.approx(sequence, abs=1e-4)
        found = [shares[name] for name in ("target", "collaborative", "text", "visual")]
        np.testing.assert_allclose(found, parts.numpy(), atol=1e-4)
    assert response.json()["engine"] == "transformers"
    assert response.json()["source"] == "ranker"
    assert response.json()["bundle"] == "b1"


async def test_the_order_is_that_of_the_trained_ranker(client, bundle, ranker):
    [scores] = ranker.score([ROWS])
    scores[ROWS] = -torch.inf
    expected = [bundle.catalogue.item_ids[row] for row in scores.argsort(descending=True)[:20]]
    response = await rank(client, k=20)
    assert ids(response) == expected
    listed = [item["score"] for item in response.json()["items"]]
    assert listed == sorted(listed, reverse=True)


async def test_seen_items_come_back_only_when_asked_for(client):
    everything = ids(await rank(client, k=1000, exclude_seen=False))
    assert sorted(everything) == [f"item-{row:02d}" for row in range(60)]
    unseen = ids(await rank(client, k=1000))
    assert sorted(unseen) == sorted(set(everything) - set(HISTORY))
    assert unseen == [item for item in everything if item not in HISTORY]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"categories": ["kind-1", "kind-2"]}, lambda row: row % 6 in (1, 2)),
        ({"categories": ["even"], "attributes": {"size": 2}}, lambda r: r % 2 == 0 and r % 3 == 2),
        ({"attributes": {"size": [0, 1.0], "new": True}}, lambda r: r % 3 < 2 and r % 5 == 0),
        ({"attributes": {"new": 1}}, lambda row: False),
        ({"attributes": {"color": "red"}}, lambda row: True),
        ({"allow": ["item-20", "item-21", "nobody"]}, lambda row: row in (20, 21)),
        ({"deny": ["item-20", "nobody"], "categories": ["odd", "even"]}, lambda row: row != 20),
        ({"allow": []}, lambda row: False),
        ({"categories": ["no such kind"]}, lambda row: False),
    ],
)
async def test_filters_are_exact(client, wanted, fits):
    everything = ids(await rank(client, k=1000))
    filtered = ids(await rank(client, k=1000, filter=wanted))
    assert filtered == [item for item in everything if fits(int(item[-2:]))]
    few = ids(await rank(client, k=3, filter=wanted))
    assert few == filtered[:3]


async def test_filters_of_requests_in_one_batch_do_not_mix(client):
    kinds = [f"kind-{n % 6}" for n in range(24)]
    answers = await asyncio.gather(
        *(rank(client, k=4, filter={"categories": [kind]}) for kind in kinds)
    )
    for kind, answer in zip(kinds, answers, strict=True):
        found = ids(answer)
        assert len(found) == 4
        assert {int(item[-2:]) % 6 for item in found} == {int(kind[-1])}


async def test_unknown_items_are_reported_and_ignored(client):
    known = (await rank(client)).json()
    mixed = (await rank(client, ["nobody", *HISTORY, "no one", "nobody"])).json()
    assert mixed["unknown_items"] == ["nobody", "no one"]
    for one, other in zip(mixed["items"], known["items"], strict=True):
        assert one["item_id"] == other["item_id"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-5)


async def test_a_history_of_unknown_items_only_is_refused(client):
    response = await rank(client, ["nobody"])
    assert response.status_code == 422
    assert response.json()["type"].endswith("unknown-items")
    assert response.json()["errors"][0]["field"] == "history"


async def test_an_empty_history_gets_popular_items(client, bundle):
    body = (await rank(client, [], k=7)).json()
    order = np.argsort(-bundle.catalogue.frequency, kind="stable")
    assert body["source"] == "popularity"
    assert [item["item_id"] for item in body["items"]] == [
        bundle.catalogue.item_ids[row] for row in order[:7]
    ]
    assert all(item["shares"] is None for item in body["items"])
    odd = ids(await rank(client, [], k=1000, filter={"categories": ["odd"]}))
    assert odd == [bundle.catalogue.item_ids[row] for row in order if row % 2]


async def test_a_history_may_be_longer_than_the_prompt(client, ranker, bundle):
    history = [f"item-{row:02d}" for row in range(40)]
    response = await rank(client, history, k=20)
    scores = ranker.score([np.arange(40)])[0]
    scores[:40] = -torch.inf
    assert ids(response) == [
        bundle.catalogue.item_ids[row] for row in scores.argsort(descending=True)[:20]
    ]


def estimated(ranker, table, weights):
    """The row that a cold item gets of a table: its neighbours are items 3 and 9."""
    met = ranker.fusion_head.frequency > 0
    return blend(table[[3, 9]], weights, table[met].mean(dim=0))


async def test_a_cold_item_is_ranked_by_equation_18_with_the_cold_weights(client, bundle, ranker):
    made = cold_item(bundle, near=12)
    response = await put(client, "cold", made, categories=["brand new"])
    assert response.status_code == 200, response.text
    response = await rank(client, filter={"categories": ["brand new"]})
    [item] = response.json()["items"]
    assert item["item_id"] == "cold"

    table = ranker.fusion_head.target_table
    [state] = ranker.hidden_states([ROWS])
    weights = torch.tensor([0.75, 0.25])
    parts = eq_18(ranker, state, estimated(ranker, table, weights), made[0], q=0)
    items = ranker.sequence_part.items
    sequence = sequence_share(ranker, ROWS, estimated(ranker, items, weights))
    assert item["score"] == pytest.approx(float(parts.sum()) + sequence, abs=1e-4)
    assert item["shares"]["target"] == pytest.approx(float(parts[0]), abs=1e-4)
    assert "cold" in ids(await rank(client, k=1000))


async def test_a_cold_item_in_a_history_is_read_by_equation_16(client, bundle, ranker):
    made = cold_item(bundle, near=12)
    await put(client, "cold", made)
    vectors, codes, _ = made
    own = ranker.encode_items(
        {j: torch.from_numpy(v)[None] for j, v in vectors.items()},
        {j: torch.tensor([c]) for j, c in codes.items()},
    )
    history = [np.array([0, 60])]
    states = ranker.hidden_states(history, torch.cat([ranker.input_table(), own]))
    known = ranker.sequence_part.items
    read = torch.cat([known, estimated(ranker, known, torch.tensor([0.75, 0.25]))[None]])
    states = torch.cat([states, ranker.sequence_part.states(history, read)], dim=1)
    [scores] = states @ ranker.fused_matrix().T
    scores[0] = -torch.inf
    response = await rank(client, ["item-00", "cold"], k=5, filter={"deny": ["cold"]})
    assert response.json()["unknown_items"] == []
    assert ids(response) == [
        bundle.catalogue.item_ids[row] for row in scores.argsort(descending=True)[:5]
    ]


async def test_many_cold_items_are_all_recommended(client, bundle):
    for n in range(150):
        made = cold_item(bundle, near=n % 60, seed=n)
        assert (await put(client, f"cold-{n}", made, categories=["cold"])).status_code == 200
    found = ids(await rank(client, k=1000, filter={"categories": ["cold"]}))
    assert sorted(found) == sorted(f"cold-{n}" for n in range(150))
    assert len(set(ids(await rank(client, k=1000)))) == 150 + 60 - len(HISTORY)
    assert (await client.get("/bundles")).json()[0]["items"] == 210


async def test_a_changed_item_changes_and_keeps_its_frequency(client, bundle):
    before = ids(await rank(client, [], k=1000))
    made = cold_item(bundle, near=12)
    await put(client, "item-30", made, version=2, categories=["changed"])
    assert ids(await rank(client, filter={"categories": ["changed"]})) == ["item-30"]
    assert "item-30" not in ids(await rank(client, k=99, filter={"categories": ["kind-0"]}))
    assert ids(await rank(client, [], k=1000)) == before


async def test_removed_items_vanish_at_once(client, bundle):
    best = ids(await rank(client))[0]
    params = {"catalog_id": "default", "version": 2}
    assert (await client.delete(f"/items/{best}", params=params)).status_code == 200
    assert best not in ids(await rank(client, k=1000))
    assert best not in ids(await rank(client, [], k=1000))
    assert best not in ids(await rank(client, filter={"allow": [best]}))


async def test_stale_versions_are_ignored(client, bundle):
    made = cold_item(bundle, near=12)
    await put(client, "cold", made, version=5, categories=["five"])
    await put(client, "cold", made, version=4, categories=["four"])
    assert ids(await rank(client, filter={"categories": ["five"]})) == ["cold"]
    await client.delete("/items/cold", params={"catalog_id": "default", "version": 4})
    assert ids(await rank(client, filter={"categories": ["five"]})) == ["cold"]
    await client.delete("/items/cold", params={"catalog_id": "default", "version": 6})
    await put(client, "cold", made, version=5)
    assert "cold" not in ids(await rank(client, k=1000))
    await put(client, "cold", made, version=7)
    assert "cold" in ids(await rank(client, k=1000))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda v, c: v.update({T: np.ones(3)}), "items.0.vectors.text"),
        (lambda v, c: v.pop(V), "items.0.vectors.visual"),
        (lambda v, c: v.update({V: np.full(10, 1e39)}), "items.0.vectors.visual"),
        (lambda v, c: c.update({T: [0, 1, 2]}), "items.0.codes.text"),
        (lambda v, c: c.update({T: [0, 1, 2, 8]}), "items.0.codes.text"),
    ],
)
async def test_items_that_do_not_fit_the_bundle_are_named(client, bundle, change, field):
    vectors, codes, neighbours = cold_item(bundle, near=12)
    change(vectors, codes)
    response = await put(client, "cold", (vectors, codes, neighbours))
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field
    assert (await client.get("/bundles")).json()[0]["items"] == 60


async def test_items_of_a_bundle_that_is_not_loaded_are_refused(client, bundle):
    response = await put(client, "cold", cold_item(bundle, near=12), bundle="b9")
    assert response.status_code == 503


async def test_later_changed_and_deleted_items_are_there_after_a_restart(
    shop, bundle, running_service
):
    vectors, codes, neighbours = cold_item(bundle, near=12)
    made = {
        "bundle": "b1",
        "vectors": {T: vectors[T], V: vectors[V]},
        "codes": codes,
        "imputed": {C: vectors[C]},
        "neighbours": neighbours,
    }
    late = ItemContent("Late", "", ("late",), None, {"size": 9.0}, None, "late")
    await shop.store_item("late", late, **made)
    await shop.store_item("item-30", late, **made)
    await shop.delete_item("item-07")
    async with running_service(create_app(shop.settings)) as client:
        found = (await rank(client, filter={"categories": ["late"]})).json()["items"]
        assert {item["item_id"] for item in found} == {"late", "item-30"}
        assert "item-07" not in ids(await rank(client, k=1000))
        # The same as if it had come in while the service ran; stored vectors are float16.
        live = (await put(client, "late", (vectors, codes, neighbours), version=1)).status_code
        assert live == 200
        again = (await rank(client, filter={"allow": ["late"]})).json()["items"]
        [stored] = [item for item in found if item["item_id"] == "late"]
        assert again[0]["score"] == pytest.approx(stored["score"], abs=1e-2)


async def test_an_item_that_does_not_fit_does_not_keep_a_bundle_from_loading(
    shop, bundle, running_service
):
    vectors, codes, neighbours = cold_item(bundle, near=12)
    content = ItemContent("Late", "", ("late",), None, {}, None, "late")
    common = {"bundle": "b1", "vectors": {T: vectors[T], V: vectors[V]}, "neighbours": neighbours}
    imputed = {"imputed": {C: vectors[C]}}
    await shop.store_item("bad", content, **common, codes={**codes, T: [9, 9, 9, 9]}, **imputed)
    await shop.store_item("good", content, **common, codes=codes, **imputed)
    async with running_service(create_app(shop.settings)) as client:
        assert ids(await rank(client, filter={"categories": ["late"]})) == ["good"]


async def test_bundles_are_switched_while_requests_run(shop, bundle, running_service):
    async with running_service(create_app(shop.settings)) as client:
        running = True
        answers = []

        async def ask():
            while running:
                answers.append(await rank(client))

        asking = [asyncio.create_task(ask()) for _ in range(6)]
        for version in ("b2", "b3"):
            await shop.publish(version, seed=1, live=False)
            reference = {"catalog_id": "default", "version": version}
            loaded = await client.post("/bundles/load", json=reference)
            assert loaded.status_code == 200, loaded.text
            assert version in loaded.json()["loaded"]
            assert loaded.json()["active"] != version
            await shop.make_live(version)
            active = await client.post("/bundles/activate", json=reference)
            assert active.json()["active"] == version
            while answers[-1].json().get("bundle") != version:
                await asyncio.sleep(0.01)
        running = False
        await asyncio.gather(*asking)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["bundle"] for answer in answers} == {"b1", "b2", "b3"}
        assert (await client.get("/bundles")).json()[0]["loaded"] == ["b2", "b3"]


async def test_the_live_bundle_is_followed_without_being_told(shop, bundle, running_service, until):
    async with running_service(create_app(shop.settings)) as client:
        await shop.publish("b2", seed=1)

        async def on_b2():
            return (await rank(client)).json()["bundle"] == "b2"

        await until(on_b2)
        await shop.make_live("b1")  # rollback

        async def on_b1():
            return (await rank(client)).json()["bundle"] == "b1"

        await until(on_b1)


async def test_a_broken_bundle_is_not_switched_to(shop, bundle, running_service, until):
    async with running_service(create_app(shop.settings)) as client:
        broken = await shop.publish("b2", seed=1, live=False)
        (broken.ranker / "item_encoder.safetensors").unlink()
        await shop.make_live("b2")
        reference = {"catalog_id": "default", "version": "b2"}
        assert (await client.post("/bundles/load", json=reference)).status_code == 503
        assert (await client.post("/bundles/activate", json=reference)).status_code == 503
        missing = await client.post("/bundles/load", json={**reference, "version": "b7"})
        assert missing.status_code == 404
        assert (await rank(client)).json()["bundle"] == "b1"


async def test_catalogues_do_not_meet(make_shop, running_service):
    catalogs = ("default", "other")
    first = await make_shop(catalogs=catalogs)
    other = await make_shop(catalogs=catalogs, catalog_id="other")
    bundle = await first.publish("b1")
    await other.publish("b1", seed=1)
    async with running_service(create_app(first.settings)) as client:
        await put(client, "only-here", cold_item(bundle, near=12))
        await client.delete("/items/item-03", params={"catalog_id": "default", "version": 9})
        here = ids(await rank(client, k=1000))
        there = ids(await rank(client, k=1000, catalog_id="other"))
        assert "only-here" in here
        assert "only-here" not in there
        assert "item-03" not in here
        assert "item-03" in there
        assert here != there
        unknown = await rank(client, ["only-here"], catalog_id="other")
        assert unknown.status_code == 422
        assert (await rank(client, catalog_id="third")).status_code == 404


async def test_a_full_queue_refuses(make_shop, running_service):
    shop = await make_shop(ranking={"max_batch": 1, "queue_size": 1, "threads": 1})
    await shop.publish("b1")
    async with running_service(create_app(shop.settings)) as client:
        answers = await asyncio.gather(*(rank(client) for _ in range(20)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert {answer.status_code for answer in answers} == {200, 429}


async def test_without_a_live_bundle_the_service_is_ready_and_says_so(shop, running_service):
    async with running_service(create_app(shop.settings)) as client:
        assert (await client.get("/health/ready")).json()["bundle"] is None
        response = await rank(client)
        assert response.status_code == 503
        assert "Retry-After" in response.headers


async def test_queue_wait_and_compute_are_measured_apart(client):
    await rank(client)
    metrics = (await client.get("/metrics")).text
    assert "mmesid_ranking_queue_seconds_count" in metrics
    assert "mmesid_ranking_compute_seconds_count" in metrics
