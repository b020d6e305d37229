"""The index of one bundle's items, and which version of each item it holds.

A point is an item: its vectors, its semantic IDs and filter fields, and `learned`: the modalities
whose vector the bundle was trained on. Only from those are other items' vectors imputed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tokenization.content import ContentQuery, nearest_by_content
from shared.errors import NotFoundError
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.vectors.store import Hit, VectorPoint, VectorQuery, VectorStore

VERSION, LEARNED = "version", "learned"
# Up to here comparing with every item takes a few milliseconds, and always finds the nearest.
EXACT_UP_TO = 50_000


@dataclass(frozen=True)
class IndexedItem:
    """One version of an item as it goes into the index."""

    item_id: str
    version: int
    vectors: Mapping[Modality, NDArray[np.float32]]
    codes: Mapping[Modality, Sequence[int]]
    categories: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    learned: Sequence[Modality] = ()


def collection_of(catalog_id: str, version: str) -> str:
    """Neither part of a catalogue's id has a dot: two bundles never share a collection."""
    return f"{catalog_id}.{version}"


def completeness_of(collection: str) -> str:
    """The alias that says that a collection was built to the end."""
    return f"complete~{collection}"


def live_alias(catalog_id: str) -> str:
    """The alias of the live bundle's collection, for whoever reads the index from outside."""
    return f"items~{catalog_id}"


class BundleIndex:
    """Index of one bundle. An older version of an item never replaces a newer one."""

    def __init__(self, store: VectorStore, collection: str) -> None:
        self._store = store
        self.collection = collection
        self._versions: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._is_being_built = False
        self._changing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._versions)

    def version_of(self, item_id: str) -> int | None:
        """The version that is indexed, if the item is."""
        return self._versions.get(item_id)

    async def is_complete(self) -> bool:
        return (await self._store.aliases()).get(completeness_of(self.collection)) is not None

    async def begin(self, dimensions: Mapping[Modality, int]) -> None:
        """An empty collection in the place of whatever was there."""
        await self._store.drop(self.collection)
        await self._store.create(
            self.collection,
            {modality.value: size for modality, size in dimensions.items()},
            keywords=[LEARNED],
        )
        self._is_being_built = True

    async def complete(self) -> None:
        """Make searches fast, and mark the collection as built."""
        self._is_being_built = False
        await self._store.optimize(self.collection)
        await self._store.switch_alias(completeness_of(self.collection), self.collection)

    async def read_versions(self) -> None:
        """Learn what the collection holds, after a restart."""
        async for page in self._store.payloads(self.collection, [VERSION]):
            self._versions.update((item_id, payload[VERSION]) for item_id, payload in page)

    async def put(self, items: Sequence[IndexedItem]) -> None:
        """Index items, but for those of which a newer version is indexed or was removed."""
        async with self._changing:
            in_turn = sorted(items, key=lambda item: item.version)
            newest = {item.item_id: item for item in in_turn if self._is_news(item)}
            if newest:
                await self._store.upsert(
                    self.collection,
                    [_point(item) for item in newest.values()],
                    more_follow=self._is_being_built,
                )
                self._versions.update((i.item_id, i.version) for i in newest.values())

    async def remove(self, versions: Mapping[str, int]) -> None:
        """Take items out, given the version of their removal; a newer one stays."""
        async with self._changing:
            for item_id, version in versions.items():
                self._removed[item_id] = max(version, self._removed.get(item_id, version))
            gone = [
                item_id
                for item_id, version in versions.items()
                if item_id in self._versions and self._versions[item_id] <= version
            ]
            if gone:
                await self._store.delete(self.collection, gone)
                for item_id in gone:
                    del self._versions[item_id]

    async def similar(self, item_id: str, k: int, modality: Modality | None) -> list[Hit]:
        """The `k` items most similar to one: by content, or by one modality's vectors.

        Raises NotFoundError where the item is not indexed, or has no such vector.
        """
        wanted = [modality] if modality else CONTENT_MODALITIES
        names = [each.value for each in wanted]
        found = await self._store.retrieve(self.collection, [item_id], names=names)
        vectors = {
            Modality(name): vector
            for point in found.values()
            for name, vector in point.vectors.items()
        }
        if not vectors:
            raise NotFoundError(f"Item {item_id} has no {' or '.join(names)} vector in the index")
        if modality is None:
            query = ContentQuery(vectors, k, exclude=[item_id])
            return (await self.nearest([query]))[0]
        single = VectorQuery(modality.value, vectors[modality], k, [item_id], exact=self._exact)
        return (await self._store.search(self.collection, [single]))[0]

    async def nearest(self, queries: Sequence[ContentQuery]) -> list[list[Hit]]:
        """The items nearest by content, of each query."""
        return await nearest_by_content(self._store, self.collection, queries, exact=self._exact)

    async def vectors_of(
        self, item_ids: Sequence[str], modalities: Sequence[Modality]
    ) -> dict[str, Mapping[str, NDArray[np.float32]]]:
        """The vectors of items by modality name."""
        names = [modality.value for modality in modalities]
        points = await self._store.retrieve(self.collection, item_ids, names=names)
        return {item_id: point.vectors for item_id, point in points.items()}

    async def drop(self) -> None:
        await self._store.drop(self.collection)

    @property
    def _exact(self) -> bool:
        return len(self._versions) <= EXACT_UP_TO

    def _is_news(self, item: IndexedItem) -> bool:
        if item.version <= self._removed.get(item.item_id, -1):
            return False
        return item.version >= self._versions.get(item.item_id, item.version)


def _point(item: IndexedItem) -> VectorPoint:
    return VectorPoint(
        item.item_id,
        {modality.value: vector for modality, vector in item.vectors.items()},
        {
            VERSION: item.version,
            LEARNED: [modality.value for modality in item.learned],
            "codes": {modality.value: list(codes) for modality, codes in item.codes.items()},
            "categories": list(item.categories),
            "attributes": dict(item.attributes),
        },
    )
