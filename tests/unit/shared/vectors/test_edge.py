"""What only the embedded engine has: a folder that outlives its process."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import UnavailableError
from shared.vectors import edge
from shared.vectors.edge import EdgeVectorStore
from shared.vectors.edge_optimizing import optimize_apart
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


def points(number: int) -> list[VectorPoint]:
    vectors = np.random.default_rng(0).normal(size=(number, 4)).astype(np.float32)
    return [VectorPoint(f"item-{n}", {"text": vector}) for n, vector in enumerate(vectors)]


async def test_a_large_collection_is_optimised_by_another_process_and_used_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(edge, "OPTIMIZE_AFTER", 20)
    store = EdgeVectorStore(tmp_path)
    await store.create("shop", {"text": 4})
    await store.upsert("shop", points(20), more_follow=True)

    optimizing = asyncio.create_task(store.optimize("shop"))
    await until(lambda: "shop" not in store._shards)
    counting = asyncio.create_task(store.count("shop"))
    await optimizing

    assert await counting == 20
    await store.upsert("shop", points(21)[20:])
    query = VectorQuery("text", points(21)[20].vectors["text"], 1)
    assert (await store.search("shop", [query]))[0][0].item_id == "item-20"
    await store.close()


async def test_cancelling_ends_the_other_process_and_gives_the_collection_back(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(edge, "OPTIMIZE_AFTER", 20)
    store = EdgeVectorStore(tmp_path)
    await store.create("shop", {"text": 4})
    await store.upsert("shop", points(20), more_follow=True)

    optimizing = asyncio.create_task(store.optimize("shop"))
    await until(lambda: "shop" not in store._shards)
    optimizing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await optimizing

    assert await store.count("shop") == 20
    await store.close()


async def test_graphs_that_cannot_be_built_are_said(tmp_path):
    with pytest.raises(UnavailableError, match="were not built"):
        await optimize_apart(tmp_path / "nowhere")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
