"""One contract for all engines; the oracle is a plain product of matrices."""

import os
from contextlib import asynccontextmanager
from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from shared.errors import ConflictError, InvalidInputError, NotFoundError
from shared.vectors.edge import EdgeVectorStore
from shared.vectors.server import ServerVectorStore
from shared.vectors.store import VectorPoint, VectorQuery
from tests.integration.conftest import served
from tests.unit.shared.vectors.qdrant_stand_in import qdrant_stand_in

SERVER_URL = os.environ.get("MMESID_VECTORS__URL") or os.environ.get("QDRANT_URL")
NUMBER = 150
DIMENSIONS = {"text": 12, "visual": 5}


@asynccontextmanager
async def opened(engine, folder):
    if engine == "edge":
        yield EdgeVectorStore(folder)
    elif engine == "client-local-mode":
        yield ServerVectorStore(AsyncQdrantClient(location=":memory:"))
    elif engine == "stand-in-over-http":
        async with served(qdrant_stand_in(folder)) as url:
            yield ServerVectorStore(AsyncQdrantClient(url=url, check_compatibility=False))
    elif SERVER_URL is None:
        pytest.skip("neither MMESID_VECTORS__URL nor QDRANT_URL names a server")
    else:
        yield ServerVectorStore(AsyncQdrantClient(url=SERVER_URL))


@pytest.fixture(params=["edge", "client-local-mode", "stand-in-over-http", "server"])
async def store(request, tmp_path):
    async with opened(request.param, tmp_path) as store:
        yield store
        await store.close()


@pytest.fixture
def vectors():
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=(NUMBER, size)).astype(np.float32) * 3
        for name, size in DIMENSIONS.items()
    }


@pytest.fixture
async def collection(store, vectors):
    name = f"test-{uuid4().hex}"
    await store.create(name, DIMENSIONS, keywords=["color"])
    await store.upsert(name, [point(vectors, row) for row in range(NUMBER)])
    yield name
    await store.drop(name)


def item(row):
    return f"item {row}/ü"


def point(vectors, row):
    colors = ["all", "red" if row % 3 else "blue"]
    return VectorPoint(
        item(row),
        {name: table[row] for name, table in vectors.items()},
        {"color": colors, "version": row},
    )


def oracle(table, vector, k, wanted):
    similarity = table @ vector / np.linalg.norm(table, axis=1) / np.linalg.norm(vector)
    rows = [row for row in np.argsort(-similarity, kind="stable") if wanted(row)][:k]
    return [(item(row), similarity[row]) for row in rows]


def assert_same(hits, expected):
    assert [hit.item_id for hit in hits] == [item_id for item_id, _ in expected]
    np.testing.assert_allclose(
        [hit.similarity for hit in hits], [similarity for _, similarity in expected], atol=1e-5
    )


async def test_search_finds_what_a_full_comparison_finds(store, collection, vectors):
    queries = [
        VectorQuery("text", vectors["text"][3], 10),
        VectorQuery("visual", vectors["visual"][7], 4),
    ]
    text, visual = await store.search(collection, queries)
    assert_same(text, oracle(vectors["text"], vectors["text"][3], 10, lambda row: True))
    assert_same(visual, oracle(vectors["visual"], vectors["visual"][7], 4, lambda row: True))


async def test_search_honours_exclusions_and_conditions(store, collection, vectors):
    query = VectorQuery(
        "text",
        vectors["text"][3],
        10,
        exclude=[item(3), item(4)],
        where=[("color", "all"), ("color", "red")],
    )
    [hits] = await store.search(collection, [query])
    expected = oracle(
        vectors["text"], vectors["text"][3], 10, lambda row: row not in (3, 4) and row % 3
    )
    assert_same(hits, expected)


async def test_search_returns_fewer_where_there_are_fewer(store, collection, vectors):
    query = VectorQuery("text", vectors["text"][0], 500, where=[("color", "blue")], exact=True)
    [hits] = await store.search(collection, [query])
    assert len(hits) == NUMBER // 3


async def test_retrieved_vectors_have_the_length_they_were_given_with(store, collection, vectors):
    found = await store.retrieve(collection, [item(5), "unknown"], names=["text", "visual"])
    assert set(found) == {item(5)}
    for name in DIMENSIONS:
        np.testing.assert_allclose(found[item(5)].vectors[name], vectors[name][5], rtol=1e-5)
    assert found[item(5)].payload == {"color": ["all", "red"], "version": 5}


async def test_an_upsert_replaces_the_item(store, collection, vectors):
    turned = VectorPoint(item(5), {"text": -vectors["text"][5]}, {"version": 99})
    await store.upsert(collection, [turned])
    assert await store.count(collection) == NUMBER
    found = await store.retrieve(collection, [item(5)], names=["text", "visual"])
    assert found[item(5)].payload == {"version": 99}
    assert set(found[item(5)].vectors) == {"text"}
    [hits] = await store.search(collection, [VectorQuery("text", -vectors["text"][5], 1)])
    assert hits[0].item_id == item(5)


async def test_deleted_items_are_gone(store, collection, vectors):
    await store.delete(collection, [item(5), "unknown"])
    assert await store.count(collection) == NUMBER - 1
    [hits] = await store.search(collection, [VectorQuery("text", vectors["text"][5], NUMBER)])
    assert item(5) not in {hit.item_id for hit in hits}


async def test_payloads_of_all_items_come_in_pages(store, collection):
    rows = [row async for page in store.payloads(collection, ["version"]) for row in page]
    assert sorted(rows) == sorted((item(row), {"version": row}) for row in range(NUMBER))


async def test_a_wrong_dimension_is_refused_and_changes_nothing(store, collection):
    wrong = VectorPoint("new", {"text": np.ones(3, dtype=np.float32)})
    with pytest.raises(InvalidInputError, match=r"vectors\.text: has 3 dimensions"):
        await store.upsert(collection, [wrong])
    query = VectorQuery("sound", np.ones(3, dtype=np.float32), 1)
    with pytest.raises(InvalidInputError, match=r"vectors\.sound"):
        await store.search(collection, [query])
    assert await store.count(collection) == NUMBER


async def test_a_collection_that_does_not_exist_is_reported(store, collection):
    with pytest.raises(NotFoundError, match="nowhere"):
        await store.count("nowhere")
    with pytest.raises(ConflictError):
        await store.create(collection, DIMENSIONS)
    await store.drop("nowhere")


async def test_an_alias_is_switched_and_goes_with_its_collection(store, collection):
    other = f"{collection}-other"
    alias = f"alias-{collection}"
    await store.create(other, DIMENSIONS)
    await store.switch_alias(alias, collection)
    assert (await store.aliases())[alias] == collection
    await store.switch_alias(alias, other)
    assert (await store.aliases())[alias] == other
    await store.drop(other)
    assert alias not in await store.aliases()
    assert other not in await store.collections()
    assert collection in await store.collections()


async def test_optimizing_does_not_change_what_is_found(store, collection, vectors):
    query = VectorQuery("text", vectors["text"][8], 20, exact=True)
    before = await store.search(collection, [query])
    await store.optimize(collection)
    assert [hit.item_id for hit in before[0]] == [
        hit.item_id for hit in (await store.search(collection, [query]))[0]
    ]


async def test_only_the_vectors_asked_for_are_retrieved(store, collection):
    found = await store.retrieve(collection, [item(5)], names=["visual"])
    assert set(found[item(5)].vectors) == {"visual"}
