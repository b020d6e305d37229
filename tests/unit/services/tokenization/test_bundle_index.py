from pathlib import Path

import numpy as np
import pytest

from services.tokenization.bundle_index import BundleIndex, IndexedItem
from shared.modeling.modality import Modality
from shared.vectors import edge
from shared.vectors.edge import EdgeVectorStore

COLLECTION = "shop.v1"


def item(number: int) -> IndexedItem:
    vector = np.random.default_rng(number).normal(size=4).astype(np.float32)
    return IndexedItem(f"item-{number}", 1, {Modality.TEXT: vector}, {Modality.TEXT: [1, 2]})


@pytest.fixture
def optimized(monkeypatch):
    """How often a store was optimised: how many points were new, or "apart" for a process' work."""
    monkeypatch.setattr(edge, "OPTIMIZE_AFTER", 5)
    found: list[int | str] = []
    optimize = EdgeVectorStore._optimize

    def noted(store, shard):
        found.append(shard.unoptimized)
        optimize(store, shard)

    async def noted_apart(_: Path) -> None:
        found.append("apart")

    monkeypatch.setattr(EdgeVectorStore, "_optimize", noted)
    monkeypatch.setattr(edge, "optimize_apart", noted_apart)
    return found


async def test_the_graph_is_built_once_when_the_index_is_full(tmp_path, optimized):
    store = EdgeVectorStore(tmp_path)
    index = BundleIndex(store, COLLECTION)
    await index.begin({Modality.TEXT: 4})
    for start in range(0, 20, 4):
        await index.put([item(number) for number in range(start, start + 4)])
    assert optimized == []

    await index.complete()

    assert optimized == ["apart"]
    assert await index.is_complete()
    await store.close()


async def test_items_that_come_later_are_built_in_when_they_are_many(tmp_path, optimized):
    store = EdgeVectorStore(tmp_path)
    index = BundleIndex(store, COLLECTION)
    await index.begin({Modality.TEXT: 4})
    await index.put([item(0)])
    await index.complete()

    for number in range(1, 8):
        await index.put([item(number)])

    assert optimized == [1, 5]
    await store.close()
