"""Qdrant's engine inside this process: a folder a collection, and no server.

    <folder>/collections/<name>/   one shard of the engine, and collection.json (written last)
    <folder>/aliases.json          alias -> collection

A shard is open in one process only. The engine's shards may be used by several threads at once; but
while it builds the graphs of one, no thread of the process runs: for many points that is done apart
(`edge_optimizing.py`).
"""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from shared.errors import ConflictError, NotFoundError, UnavailableError
from shared.vectors.edge_optimizing import optimize_apart
from shared.vectors.points import BATCH, ITEM_ID, payload_of, point_id, point_of
from shared.vectors.store import Hit, VectorPoint, VectorQuery, check_vectors, in_order

DESCRIPTION = "collection.json"
PAGE = 4096
# The engine compares with every point that is not in a built graph: rebuild before that is slow.
OPTIMIZE_AFTER = 10_000


@dataclass
class _Shard:
    engine: Any
    dimensions: dict[str, int]
    unoptimized: int = 0


class EdgeVectorStore:
    """A `VectorStore` over the engine in this process; the folder is its own."""

    def __init__(self, folder: Path) -> None:
        self._collections = folder / "collections"
        self._aliases = folder / "aliases.json"
        self._collections.mkdir(parents=True, exist_ok=True)
        self._shards: dict[str, _Shard] = {}
        self._lent: dict[str, threading.Event] = {}
        self._opening = threading.Lock()
        self._alias_file = threading.Lock()

    async def create(
        self, collection: str, dimensions: Mapping[str, int], *, keywords: Sequence[str] = ()
    ) -> None:
        await asyncio.to_thread(self._create, collection, dict(dimensions), list(keywords))

    async def drop(self, collection: str) -> None:
        await asyncio.to_thread(self._drop, collection)

    async def collections(self) -> list[str]:
        return sorted(entry.parent.name for entry in self._collections.glob(f"*/{DESCRIPTION}"))

    async def upsert(
        self, collection: str, points: Sequence[VectorPoint], *, more_follow: bool = False
    ) -> None:
        await asyncio.to_thread(self._upsert, collection, points, more_follow)

    async def delete(self, collection: str, item_ids: Sequence[str]) -> None:
        operation = qdrant.UpdateOperation.delete_points([point_id(item) for item in item_ids])
        await asyncio.to_thread(lambda: self._shard(collection).engine.update(operation))

    async def retrieve(
        self, collection: str, item_ids: Sequence[str], *, names: Sequence[str]
    ) -> dict[str, VectorPoint]:
        records = await asyncio.to_thread(
            lambda: self._shard(collection).engine.retrieve(
                [point_id(item) for item in item_ids], with_payload=True, with_vector=list(names)
            )
        )
        points = [point_of(record.payload, record.vector) for record in records]
        return {point.item_id: point for point in points}

    async def payloads(
        self, collection: str, keys: Sequence[str]
    ) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        offset = None
        while True:
            records, offset = await asyncio.to_thread(self._scroll, collection, keys, offset)
            yield [
                (record.payload[ITEM_ID], {key: record.payload.get(key) for key in keys})
                for record in records
            ]
            if offset is None:
                return

    async def search(self, collection: str, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        return await asyncio.to_thread(self._search, collection, queries)

    async def count(self, collection: str) -> int:
        return await asyncio.to_thread(
            lambda: int(self._shard(collection).engine.count(qdrant.CountRequest(exact=True)))
        )

    async def optimize(self, collection: str) -> None:
        shard = await asyncio.to_thread(self._shard, collection)
        if shard.unoptimized < OPTIMIZE_AFTER:
            await asyncio.to_thread(self._optimize, shard)
            return
        returned = self._lent[collection] = threading.Event()
        try:
            await asyncio.to_thread(self._put_away, collection)
            await optimize_apart(self._collections / collection)
        finally:
            del self._lent[collection]
            returned.set()

    async def switch_alias(self, alias: str, collection: str) -> None:
        await asyncio.to_thread(self._switch_alias, alias, collection)

    async def aliases(self) -> dict[str, str]:
        return await asyncio.to_thread(self._read_aliases)

    async def close(self) -> None:
        """Write everything and free the folder for another process."""
        for shard in self._shards.values():
            await asyncio.to_thread(shard.engine.close)
        self._shards.clear()

    def _create(self, collection: str, dimensions: dict[str, int], keywords: Sequence[str]) -> None:
        folder = self._collections / collection
        if (folder / DESCRIPTION).is_file():
            raise ConflictError(f"vector collection {collection} exists")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        engine = qdrant.EdgeShard.create(
            str(folder),
            qdrant.EdgeConfig(
                vectors={
                    name: qdrant.EdgeVectorParams(size=size, distance=qdrant.Distance.Cosine)
                    for name, size in dimensions.items()
                }
            ),
        )
        for key in keywords:
            engine.update(
                qdrant.UpdateOperation.create_field_index(key, qdrant.PayloadSchemaType.Keyword)
            )
        engine.flush()
        (folder / DESCRIPTION).write_text(json.dumps({"dimensions": dimensions}))
        self._shards[collection] = _Shard(engine, dimensions)

    def _drop(self, collection: str) -> None:
        shard = self._shards.pop(collection, None)
        if shard is not None:
            shard.engine.close()
        with self._alias_file:
            kept = {a: name for a, name in self._read_aliases().items() if name != collection}
            self._write_aliases(kept)
        folder = self._collections / collection
        if folder.is_dir():
            (folder / DESCRIPTION).unlink(missing_ok=True)
            shutil.rmtree(folder)

    def _upsert(self, collection: str, points: Sequence[VectorPoint], more_follow: bool) -> None:
        shard = self._shard(collection)
        for point in points:
            check_vectors(point.vectors, shard.dimensions)
        remaining = iter(points)
        while batch := list(islice(remaining, BATCH)):
            shard.engine.update(
                qdrant.UpdateOperation.upsert_points(
                    [
                        qdrant.Point(
                            point_id(point.item_id),
                            {name: vector.tolist() for name, vector in point.vectors.items()},
                            payload_of(point),
                        )
                        for point in batch
                    ]
                )
            )
        shard.unoptimized += len(points)
        if shard.unoptimized >= OPTIMIZE_AFTER and not more_follow:
            self._optimize(shard)

    def _optimize(self, shard: _Shard) -> None:
        shard.unoptimized = 0
        shard.engine.optimize()
        shard.engine.flush()

    def _scroll(self, collection: str, keys: Sequence[str], offset: Any) -> Any:
        request = qdrant.ScrollRequest(
            offset=offset, limit=PAGE, with_payload=[ITEM_ID, *keys], with_vector=False
        )
        return self._shard(collection).engine.scroll(request)

    def _search(self, collection: str, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        shard = self._shard(collection)
        for query in queries:
            check_vectors({query.name: query.vector}, shard.dimensions)
        if not queries:
            return []
        found = shard.engine.query_batch(
            qdrant.QueryBatchRequest([_request(query) for query in queries])
        )
        return [
            in_order([Hit(point.payload[ITEM_ID], float(point.score)) for point in points])
            for points in found
        ]

    def _put_away(self, collection: str) -> None:
        """Close a collection, so that another process may open it."""
        with self._opening:
            self._shards.pop(collection).engine.close()

    def _shard(self, collection: str) -> _Shard:
        """Waits for one that another process has."""
        returned = self._lent.get(collection)
        if returned is not None:
            returned.wait()
        with self._opening:
            shard = self._shards.get(collection)
            if shard is None:
                shard = self._shards[collection] = self._open(collection)
            return shard

    def _open(self, collection: str) -> _Shard:
        folder = self._collections / collection
        if not (folder / DESCRIPTION).is_file():
            raise NotFoundError(f"vector collection {collection} does not exist")
        description = json.loads((folder / DESCRIPTION).read_text())
        try:
            engine = qdrant.EdgeShard.load(str(folder))
        except Exception as error:  # the engine raises nothing more telling
            raise UnavailableError(
                f"vector collection {collection} cannot be opened (another process may own"
                f" {folder}): {error}"
            ) from error
        return _Shard(engine, description["dimensions"])

    def _switch_alias(self, alias: str, collection: str) -> None:
        self._shard(collection)
        with self._alias_file:
            self._write_aliases({**self._read_aliases(), alias: collection})

    def _read_aliases(self) -> dict[str, str]:
        if not self._aliases.is_file():
            return {}
        aliases: dict[str, str] = json.loads(self._aliases.read_text())
        return aliases

    def _write_aliases(self, aliases: Mapping[str, str]) -> None:
        """The caller holds the lock."""
        part = self._aliases.with_suffix(".part")
        part.write_text(json.dumps(dict(aliases), indent=2))
        part.replace(self._aliases)


def _request(query: VectorQuery) -> Any:
    return qdrant.QueryRequest(
        limit=query.k,
        query=qdrant.Query.Nearest(query.vector.tolist(), using=query.name),
        with_payload=[ITEM_ID],
        filter=qdrant.Filter(
            must=[
                qdrant.FieldCondition(key, match=qdrant.MatchValue(value))
                for key, value in query.where
            ],
            must_not=[qdrant.HasIdCondition({point_id(item) for item in query.exclude})]
            if query.exclude
            else [],
        ),
        params=qdrant.SearchParams(exact=query.exact),
    )
