"""The tokenization service over a tiny real bundle, Postgres and the embedded engine."""

import asyncio
import json

import numpy as np
import pytest
import torch

from services.tokenization.app import create_app
from services.tokenization.bundle_index import BundleIndex
from shared.database.items import ItemContent
from shared.modeling.imputation import DISTANCE
from shared.modeling.mm_rq_vae import MMRQVAE
from shared.modeling.modality import Modality

C, T, V = Modality.COLLABORATIVE, Modality.TEXT, Modality.VISUAL
pytestmark = pytest.mark.integration


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


def vectors_near(bundle, row, seed=0):
    """New content close to that of an item of the bundle."""
    random = np.random.default_rng(seed)
    return {
        j: bundle.catalogue.embeddings[j][row]
        + 0.05 * random.normal(size=bundle.catalogue.embeddings[j].shape[1]).astype(np.float32)
        for j in (T, V)
    }


def as_lists(vectors):
    return {modality.value: np.asarray(vector).tolist() for modality, vector in vectors.items()}


async def tokenize(client, *items, catalog_id="default", bundle=None):
    body = {
        "catalog_id": catalog_id,
        "bundle": bundle,
        "items": [{"item_id": i, "vectors": as_lists(vectors)} for i, vectors in items],
    }
    return await client.post("/tokenize", json=body)


async def put(client, item_id, vectors, codes, *, version=1, bundle="b1", catalog_id="default"):
    item = {"item_id": item_id, "version": version, "vectors": as_lists(vectors), "codes": codes}
    body = {"catalog_id": catalog_id, "bundle": bundle, "items": [item]}
    return await client.put("/items", json=body)


async def similar(client, item_id, k=10, catalog_id="default", **params):
    return await client.get(
        f"/items/{item_id}/similar", params={"catalog_id": catalog_id, "k": k, **params}
    )


def cosine(table, vector):
    return table @ vector / np.linalg.norm(table, axis=1) / np.linalg.norm(vector)


def content_similarity(catalogue, vectors):
    return np.mean([cosine(catalogue.embeddings[j], vectors[j]) for j in vectors], axis=0)


def blended(catalogue, modality, nearest, weights):
    """Seen from the mean of the items that have it: the neighbours' direction and distance."""
    table = catalogue.embeddings[modality]
    mean = table[~catalogue.imputed[modality]].mean(axis=0)
    offsets = table[nearest] - mean
    direction = weights @ offsets
    distance = weights @ np.linalg.norm(offsets, axis=1) / weights.sum()
    return mean + DISTANCE * direction / np.linalg.norm(direction) * distance


async def test_a_cold_item_is_imputed_from_its_neighbours(client, bundle):
    catalogue = bundle.catalogue
    vectors = vectors_near(bundle, 3)
    response = await tokenize(client, ("new", vectors))
    assert response.status_code == 200, response.text
    [item] = response.json()["items"]

    similarity = content_similarity(catalogue, vectors)
    similarity[catalogue.imputed[C]] = -np.inf
    nearest = np.argsort(-similarity)[:10]
    weights = np.clip(similarity[nearest], 0, None) / np.clip(similarity[nearest], 0, None).sum()
    estimate = blended(catalogue, C, nearest, weights)
    assert [n["item_id"] for n in item["neighbours"]] == [
        catalogue.item_ids[row] for row in nearest
    ]
    np.testing.assert_allclose([n["weight"] for n in item["neighbours"]], weights, atol=1e-5)
    assert list(item["imputed"]) == ["collaborative"]
    np.testing.assert_allclose(item["imputed"]["collaborative"], estimate, atol=2e-3)

    given = {**vectors, C: np.asarray(item["imputed"]["collaborative"], dtype=np.float32)}
    expected = MMRQVAE.load(bundle.tokenizer).codes(
        {j: torch.from_numpy(np.asarray(v, np.float32)[None]) for j, v in given.items()}
    )
    assert item["codes"] == {j.value: codes[0].tolist() for j, codes in expected.items()}


async def test_an_item_without_an_image_gets_its_neighbours_images(client, bundle):
    catalogue = bundle.catalogue
    vectors = {T: vectors_near(bundle, 3)[T]}
    [item] = (await tokenize(client, ("new", vectors))).json()["items"]
    similarity = content_similarity(catalogue, vectors)
    similarity[catalogue.imputed[C] | catalogue.imputed[V]] = -np.inf
    nearest = np.argsort(-similarity)[:10]
    weights = np.clip(similarity[nearest], 0, None)
    estimate = blended(catalogue, V, nearest, weights)
    assert set(item["imputed"]) == {"collaborative", "visual"}
    np.testing.assert_allclose(item["imputed"]["visual"], estimate, atol=2e-3)


async def test_tokenizing_is_the_same_alone_and_in_company(client, bundle):
    items = [(f"new-{n}", vectors_near(bundle, n, seed=n)) for n in range(40)]
    together = (await tokenize(client, *items)).json()["items"]
    alone = (await tokenize(client, items[7])).json()["items"]
    assert together[7] == alone[0]


async def test_an_item_is_never_its_own_neighbour(client, bundle):
    new = vectors_near(bundle, 3)
    codes = (await tokenize(client, ("new", new))).json()["items"][0]["codes"]
    await put(client, "new", new, codes)
    unbought = bundle.catalogue.item_ids[-1]
    answers = (await tokenize(client, ("new", new), (unbought, vectors_near(bundle, 59)))).json()
    for item in answers["items"]:
        assert item["neighbours"]
        assert item["item_id"] not in {n["item_id"] for n in item["neighbours"]}


async def test_a_changed_item_keeps_the_collaborative_vector_it_learned(client, bundle):
    [item] = (await tokenize(client, ("item-00", vectors_near(bundle, 5)))).json()["items"]
    assert item["imputed"] == {}
    assert item["neighbours"] == []
    assert item["codes"]["collaborative"] == bundle.sids()[C][0].tolist()


@pytest.mark.parametrize(
    ("vectors", "field"),
    [
        ({T: np.ones(5)}, "items.1.vectors.text"),
        ({T: np.ones(12), V: np.ones(11)}, "items.1.vectors.visual"),
        ({C: np.ones(8)}, "items.1.vectors"),
    ],
)
async def test_vectors_that_do_not_fit_are_named(client, bundle, vectors, field):
    response = await tokenize(client, ("good", vectors_near(bundle, 0)), ("bad", vectors))
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


async def test_vectors_that_are_not_finite_are_refused(client):
    body = {
        "catalog_id": "default",
        "items": [{"item_id": "a", "vectors": {"text": [float("nan")] + [0.0] * 11}}],
    }
    response = await client.post(
        "/tokenize", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].startswith("items.0.vectors.text")


async def test_similar_items_are_those_a_full_comparison_finds(client, bundle):
    catalogue = bundle.catalogue
    for row in (0, 17, 58):
        item_id = catalogue.item_ids[row]
        own = {j: catalogue.embeddings[j][row] for j in (T, V)}
        expected = content_similarity(catalogue, own)
        order = [r for r in np.argsort(-expected) if r != row][:10]
        hits = (await similar(client, item_id)).json()["items"]
        assert [hit["item_id"] for hit in hits] == [catalogue.item_ids[r] for r in order]
        np.testing.assert_allclose([h["similarity"] for h in hits], expected[order], atol=1e-5)
        assert item_id not in {hit["item_id"] for hit in hits}


async def test_similar_by_one_modality(client, bundle):
    catalogue = bundle.catalogue
    expected = cosine(catalogue.embeddings[C], catalogue.embeddings[C][4])
    order = [r for r in np.argsort(-expected) if r != 4][:5]
    hits = (await similar(client, "item-04", k=5, modality="collaborative")).json()["items"]
    assert [hit["item_id"] for hit in hits] == [catalogue.item_ids[r] for r in order]


async def test_similar_to_an_unknown_item_is_not_found(client):
    response = await similar(client, "nobody")
    assert response.status_code == 404
    assert response.json()["type"].endswith("not-found")


async def test_a_new_item_is_found_and_a_removed_one_is_not(client, bundle):
    vectors = {**vectors_near(bundle, 3), C: bundle.catalogue.embeddings[C][3]}
    codes = {j.value: [0, 1, 2, 3] for j in vectors}
    assert (await put(client, "näw/1 x", vectors, codes)).status_code == 200
    hits = (await similar(client, "item-03", k=3)).json()["items"]
    assert "näw/1 x" in {hit["item_id"] for hit in hits}
    removed = await client.delete(
        "/items/n%C3%A4w%2F1%20x", params={"catalog_id": "default", "version": 2}
    )
    assert removed.status_code == 200
    hits = (await similar(client, "item-03", k=60)).json()["items"]
    assert "näw/1 x" not in {hit["item_id"] for hit in hits}


async def test_stale_versions_are_ignored(client, bundle):
    near, far = vectors_near(bundle, 3), vectors_near(bundle, 4)
    codes = {j.value: [0, 1, 2, 3] for j in (T, V)}
    await put(client, "new", near, codes, version=5)
    await put(client, "new", far, codes, version=4)
    first = (await similar(client, "new", k=3)).json()["items"]
    assert "item-03" in {hit["item_id"] for hit in first}
    await client.delete("/items/new", params={"catalog_id": "default", "version": 4})
    assert (await similar(client, "new")).status_code == 200
    await client.delete("/items/new", params={"catalog_id": "default", "version": 6})
    await put(client, "new", near, codes, version=5)
    assert (await similar(client, "new")).status_code == 404
    await put(client, "new", near, codes, version=7)
    assert (await similar(client, "new")).status_code == 200


async def test_codes_that_are_not_the_bundles_are_refused(client, bundle):
    response = await put(client, "new", vectors_near(bundle, 3), {"text": [0, 1, 2, 8]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "items.0.codes.text"


async def test_an_index_is_reused_after_a_restart_and_caught_up(
    shop, bundle, running_service, monkeypatch
):
    async with running_service(create_app(shop.settings)) as client:
        vectors = vectors_near(bundle, 3)
        [made] = (await tokenize(client, ("late", vectors))).json()["items"]
    deleted = await shop.delete_item("item-07")
    assert deleted == 2
    await shop.store_item(
        "late",
        ItemContent("Late", "", ("kind-3",), None, {}, None, "late"),
        bundle="b1",
        vectors=vectors,
        codes={Modality(j): codes for j, codes in made["codes"].items()},
        imputed={C: np.asarray(made["imputed"]["collaborative"], np.float32)},
        neighbours=[(n["item_id"], n["weight"]) for n in made["neighbours"]],
    )
    built = []

    async def begin(self, dimensions):
        built.append(dimensions)

    monkeypatch.setattr("services.tokenization.bundle_index.BundleIndex.begin", begin)
    async with running_service(create_app(shop.settings)) as client:
        assert built == []
        assert (await similar(client, "item-07")).status_code == 404
        hits = (await similar(client, "item-03", k=5)).json()["items"]
        assert "late" in {hit["item_id"] for hit in hits}
        status = (await client.get("/bundles")).json()
    assert status == [{"catalog_id": "default", "active": "b1", "loaded": ["b1"], "items": 60}]


async def test_half_an_index_is_built_again(shop, bundle, running_service, monkeypatch):
    complete = BundleIndex.complete
    attempts = []

    async def failing_once(self):
        attempts.append(self.collection)
        if len(attempts) == 1:
            raise RuntimeError("power cut")
        await complete(self)

    monkeypatch.setattr(BundleIndex, "complete", failing_once)
    async with running_service(create_app(shop.settings)) as client:
        assert len(attempts) == 2
        assert len((await similar(client, "item-03", k=100)).json()["items"]) == 59


async def test_bundles_are_switched_while_requests_run(shop, bundle, running_service, until):
    async with running_service(create_app(shop.settings)) as client:
        running = True
        answers = []

        async def ask():
            while running:
                answers.append(await similar(client, "item-03"))
                answers.append(await tokenize(client, ("new", vectors_near(bundle, 3))))

        asking = [asyncio.create_task(ask()) for _ in range(3)]
        for version in ("b2", "b3"):
            await shop.publish(version, seed=1, live=False)
            reference = {"catalog_id": "default", "version": version}
            loaded = await client.post("/bundles/load", json=reference)
            assert loaded.status_code == 200, loaded.text
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
        status = (await client.get("/bundles")).json()[0]
        assert status["loaded"] == ["b2", "b3"]
        indexes = shop.settings.vectors.folder / "collections"

        async def only_those_held():
            return {path.name for path in indexes.iterdir()} == {"default.b2", "default.b3"}

        await until(only_those_held)


async def test_catalogues_do_not_meet(make_shop, running_service):
    catalogs = ("default", "other")
    first = await make_shop(catalogs=catalogs)
    other = await make_shop(catalogs=catalogs, catalog_id="other")
    bundle = await first.publish("b1")
    await other.publish("b1", seed=1)
    async with running_service(create_app(first.settings)) as client:
        codes = {j.value: [0, 1, 2, 3] for j in (T, V)}
        await put(client, "only-here", vectors_near(bundle, 3), codes)
        assert (await similar(client, "only-here")).status_code == 200
        assert (await similar(client, "only-here", catalog_id="other")).status_code == 404
        await client.delete("/items/item-03", params={"catalog_id": "default", "version": 9})
        assert (await similar(client, "item-03")).status_code == 404
        assert (await similar(client, "item-03", catalog_id="other")).status_code == 200
        assert (await similar(client, "item-03", catalog_id="third")).status_code == 404


async def test_without_a_live_bundle_the_service_is_ready_and_says_so(shop, running_service):
    async with running_service(create_app(shop.settings)) as client:
        health = (await client.get("/health/ready")).json()
        assert health["bundle"] is None
        response = await similar(client, "item-03")
        assert response.status_code == 503
        assert "Retry-After" in response.headers
        assert "mmesid_tokenized_items_total" in (await client.get("/metrics")).text
