import numpy as np
import pytest

from services.tokenization.content import ContentQuery, nearest_by_content
from shared.modeling.modality import Modality
from shared.vectors.edge import EdgeVectorStore
from shared.vectors.store import VectorPoint

T, V = Modality.TEXT, Modality.VISUAL


@pytest.fixture
async def store(tmp_path):
    store = EdgeVectorStore(tmp_path)
    await store.create("shop", {"text": 6, "visual": 4})
    yield store
    await store.close()


def unit(table):
    return table / np.linalg.norm(table, axis=-1, keepdims=True)


async def test_the_similarity_is_the_mean_over_the_modalities_of_the_query(store):
    random = np.random.default_rng(0)
    text, visual = random.normal(size=(50, 6)), random.normal(size=(50, 4))
    text, visual = text.astype(np.float32), visual.astype(np.float32)
    await store.upsert(
        "shop",
        [VectorPoint(f"i{n:02d}", {"text": text[n], "visual": visual[n]}) for n in range(50)],
    )
    own = {T: text[0] + visual[0, 0], V: visual[1]}
    both, only_text = await nearest_by_content(
        store,
        "shop",
        [ContentQuery(own, 7, exclude=["i03"]), ContentQuery({T: own[T]}, 7)],
        exact=True,
    )
    by_text, by_image = unit(text) @ unit(own[T]), unit(visual) @ unit(own[V])
    expected = (by_text + by_image) / 2
    order = [n for n in np.argsort(-expected) if n != 3][:7]
    assert [hit.item_id for hit in both] == [f"i{n:02d}" for n in order]
    np.testing.assert_allclose([hit.similarity for hit in both], expected[order], atol=1e-5)
    assert [hit.item_id for hit in only_text] == [f"i{n:02d}" for n in np.argsort(-by_text)[:7]]


async def test_an_item_without_an_image_is_compared_as_if_at_a_right_angle(store):
    one = np.array([1, 0, 0, 0, 0, 0], np.float32)
    await store.upsert("shop", [VectorPoint("a", {"text": one})])
    query = ContentQuery({T: one, V: np.ones(4, np.float32)}, 3)
    [[hit]] = await nearest_by_content(store, "shop", [query], exact=True)
    assert hit.similarity == pytest.approx(0.5)


async def test_an_empty_index_has_no_neighbours(store):
    query = ContentQuery({T: np.ones(6, np.float32), V: np.ones(4, np.float32)}, 3)
    assert await nearest_by_content(store, "shop", [query], exact=True) == [[]]
