import numpy as np

from shared.database.embeddings import EmbeddingRepository, ItemVector
from shared.modeling.modality import Modality

CATALOG = "shop"


def vector(value: float, *, version: int = 1, item_id: str = "mug", revision: str = "r1"):
    return ItemVector(
        item_id, version, Modality.TEXT, revision, np.full(4, value, dtype=np.float32)
    )


async def test_vectors_come_back_at_float16_precision(database, rows):
    await rows.items("mug")
    exact = np.random.default_rng(0).normal(size=384).astype(np.float32)
    async with database.transaction() as session:
        embeddings = EmbeddingRepository(session, CATALOG)
        await embeddings.put([ItemVector("mug", 1, Modality.TEXT, "r1", exact)])
        found = await embeddings.of_items(["mug"], {Modality.TEXT: "r1"})
    stored = found["mug"][Modality.TEXT]
    assert stored.dtype == np.float32
    assert np.array_equal(stored, exact.astype(np.float16).astype(np.float32))


async def test_a_vector_of_an_older_version_never_replaces_a_newer_one(database, rows):
    await rows.items("mug")
    await rows.change("mug", title="newer")
    async with database.transaction() as session:
        embeddings = EmbeddingRepository(session, CATALOG)
        await embeddings.put([vector(2.0, version=2)])
        await embeddings.put([vector(1.0, version=1)])
        found = await embeddings.of_items(["mug"], {Modality.TEXT: "r1"})
    assert found["mug"][Modality.TEXT].tolist() == [2.0] * 4


async def test_a_vector_of_a_former_version_is_not_an_items_own(database, rows):
    await rows.items("mug")
    async with database.transaction() as session:
        await EmbeddingRepository(session, CATALOG).put([vector(1.0, version=1)])
    await rows.change("mug", title="newer")
    async with database.transaction() as session:
        embeddings = EmbeddingRepository(session, CATALOG)
        assert await embeddings.of_items(["mug"], {Modality.TEXT: "r1"}) == {}
        snapshot = await embeddings.of_versions({"mug": 1}, Modality.TEXT, "r1")
        assert snapshot["mug"].tolist() == [1.0] * 4
        assert await embeddings.of_versions({"mug": 2}, Modality.TEXT, "r1") == {}


async def test_vectors_of_another_revision_or_catalogue_are_not_found(database, rows):
    await rows.items("mug")
    await rows.items("mug", catalog="rival")
    async with database.transaction() as session:
        await EmbeddingRepository(session, CATALOG).put([vector(1.0, revision="r1")])
        ours = EmbeddingRepository(session, CATALOG)
        theirs = EmbeddingRepository(session, "rival")
        assert await ours.of_items(["mug"], {Modality.TEXT: "r2"}) == {}
        assert await theirs.of_items(["mug"], {Modality.TEXT: "r1"}) == {}


async def test_a_removed_revision_is_gone_and_the_others_stay(database, rows):
    await rows.items("mug")
    async with database.transaction() as session:
        embeddings = EmbeddingRepository(session, CATALOG)
        await embeddings.put([vector(1.0, revision="r1"), vector(2.0, revision="r2")])
        await embeddings.remove_revision("r1")
        assert await embeddings.of_items(["mug"], {Modality.TEXT: "r1"}) == {}
        assert "mug" in await embeddings.of_items(["mug"], {Modality.TEXT: "r2"})


async def test_a_whole_catalogues_vectors_fit_through_one_call(database, rows):
    ids = [f"item-{number}" for number in range(12_000)]
    await rows.items(*ids)
    async with database.transaction() as session:
        embeddings = EmbeddingRepository(session, CATALOG)
        await embeddings.put([vector(1.0, item_id=item_id) for item_id in ids])
        assert len(await embeddings.of_items(ids, {Modality.TEXT: "r1"})) == 12_000
