"""What only the embedded engine has: a folder that outlives its process."""

import asyncio

import numpy as np
import pytest

from shared.errors import UnavailableError
from shared.vectors.edge import EdgeVectorStore
from shared.vectors.store import VectorPoint, VectorQuery


async def test_a_folder_can_be_opened_again(tmp_path):
    first = EdgeVectorStore(tmp_path)
    await first.create("shop", {"text": 2}, keywords=["color"])
    await first.upsert("shop", [VectorPoint("a", {"text": np.array([1, 2], dtype=np.float32)})])
    await first.switch_alias("items", "shop")
    await first.close()
    second = EdgeVectorStore(tmp_path)
    assert await second.collections() == ["shop"]
    assert await second.aliases() == {"items": "shop"}
    query = VectorQuery("text", np.array([2, 4], dtype=np.float32), 3)
    [[hit]] = await second.search("shop", [query])
    assert hit.item_id == "a"
    assert hit.similarity == pytest.approx(1)
    await second.close()


async def test_aliases_set_at_the_same_time_are_all_kept(tmp_path):
    store = EdgeVectorStore(tmp_path)
    await store.create("shop", {"text": 2})
    names = [f"alias-{i}" for i in range(64)]
    await asyncio.gather(*(store.switch_alias(name, "shop") for name in names))
    assert await store.aliases() == dict.fromkeys(names, "shop")
    await store.close()


async def test_a_folder_that_is_in_use_is_not_opened(tmp_path):
    owner = EdgeVectorStore(tmp_path)
    await owner.create("shop", {"text": 2})
    with pytest.raises(UnavailableError, match="another process may own"):
        await EdgeVectorStore(tmp_path).count("shop")
    await owner.close()


async def test_half_a_collection_is_not_one(tmp_path):
    (tmp_path / "collections" / "shop").mkdir(parents=True)
    store = EdgeVectorStore(tmp_path)
    assert await store.collections() == []
    await store.create("shop", {"text": 2})
    assert await store.count("shop") == 0
    await store.close()
