"""Qdrant's server as a vector store."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from shared.errors import ConflictError, NotFoundError, UnavailableError
from shared.vectors.points import BATCH, ITEM_ID, payload_of, point_id, point_of
from shared.vectors.store import Hit, VectorPoint, VectorQuery, check_vectors, in_order

PAGE = 4096


class ServerVectorStore:
    """A `VectorStore` over a client of the server."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client
        self._dimensions: dict[str, dict[str, int]] = {}

    async def create(
        self, collection: str, dimensions: Mapping[str, int], *, keywords: Sequence[str] = ()
    ) -> None:
        with _typed_errors():
            if await self._client.collection_exists(collection):
                raise ConflictError(f"vector collection {collection} exists")
            await self._client.create_collection(
                collection,
                vectors_config={
                    name: models.VectorParams(size=size, distance=models.Distance.COSINE)
                    for name, size in dimensions.items()
                },
            )
            for key in keywords:
                await self._client.create_payload_index(
                    collection, key, field_schema=models.PayloadSchemaType.KEYWORD
                )
        self._dimensions[collection] = dict(dimensions)

    async def drop(self, collection: str) -> None:
        self._dimensions.pop(collection, None)
        with _typed_errors():
            aliases = await self.aliases()
            stale = [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
                for alias, name in aliases.items()
                if name == collection
            ]
            if stale:
                await self._client.update_collection_aliases(stale)
            if await self._client.collection_exists(collection):
                await self._client.delete_collection(collection)

    async def collections(self) -> list[str]:
        with _typed_errors():
            found = await self._client.get_collections()
        return sorted(description.name for description in found.collections)

    async def upsert(
        self,
        collection: str,
        points: Sequence[VectorPoint],
        *,
        more_follow: bool = False,  # noqa: ARG002  the server optimises beside its work
    ) -> None:
        dimensions = await self._dimensions_of(collection)
        for point in points:
            check_vectors(point.vectors, dimensions)
        remaining = iter(points)
        with _typed_errors():
            while batch := list(islice(remaining, BATCH)):
                await self._client.upsert(
                    collection,
                    [
                        models.PointStruct(
                            id=point_id(point.item_id),
                            vector={name: v.tolist() for name, v in point.vectors.items()},
                            payload=payload_of(point),
                        )
                        for point in batch
                    ],
                    wait=True,
                )

    async def delete(self, collection: str, item_ids: Sequence[str]) -> None:
        await self._dimensions_of(collection)
        with _typed_errors():
            await self._client.delete(
                collection,
                models.PointIdsList(points=[point_id(item) for item in item_ids]),
                wait=True,
            )

    async def retrieve(
        self, collection: str, item_ids: Sequence[str], *, names: Sequence[str]
    ) -> dict[str, VectorPoint]:
        await self._dimensions_of(collection)
        with _typed_errors():
            records = await self._client.retrieve(
                collection,
                [point_id(item) for item in item_ids],
                with_payload=True,
                with_vectors=list(names),
            )
        points = [
            point_of(record.payload or {}, cast(dict[str, Any], record.vector))
            for record in records
        ]
        return {point.item_id: point for point in points}

    async def payloads(
        self, collection: str, keys: Sequence[str]
    ) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        await self._dimensions_of(collection)
        offset: Any = None
        while True:
            with _typed_errors():
                records, offset = await self._client.scroll(
                    collection,
                    limit=PAGE,
                    offset=offset,
                    with_payload=[ITEM_ID, *keys],
                    with_vectors=False,
                )
            payloads = [record.payload or {} for record in records]
            yield [
                (payload[ITEM_ID], {key: payload.get(key) for key in keys}) for payload in payloads
            ]
            if offset is None:
                return

    async def search(self, collection: str, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        dimensions = await self._dimensions_of(collection)
        for query in queries:
            check_vectors({query.name: query.vector}, dimensions)
        if not queries:
            return []
        with _typed_errors():
            responses = await self._client.query_batch_points(
                collection, [_request(query) for query in queries]
            )
        return [
            in_order(
                [Hit((point.payload or {})[ITEM_ID], point.score) for point in response.points]
            )
            for response in responses
        ]

    async def count(self, collection: str) -> int:
        await self._dimensions_of(collection)
        with _typed_errors():
            return (await self._client.count(collection, exact=True)).count

    async def optimize(self, collection: str) -> None:
        """The server does it by itself, beside its work."""
        await self._dimensions_of(collection)

    async def switch_alias(self, alias: str, collection: str) -> None:
        await self._dimensions_of(collection)
        operations: list[models.CreateAliasOperation | models.DeleteAliasOperation] = []
        if alias in await self.aliases():
            operations.append(
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            )
        operations.append(
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
        )
        with _typed_errors():
            await self._client.update_collection_aliases(operations)

    async def aliases(self) -> dict[str, str]:
        with _typed_errors():
            found = await self._client.get_aliases()
        return {entry.alias_name: entry.collection_name for entry in found.aliases}

    async def close(self) -> None:
        await self._client.close()

    async def _dimensions_of(self, collection: str) -> dict[str, int]:
        if collection not in self._dimensions:
            with _typed_errors():
                if not await self._client.collection_exists(collection):
                    raise NotFoundError(f"vector collection {collection} does not exist")
                info = await self._client.get_collection(collection)
            params = cast(dict[str, models.VectorParams], info.config.params.vectors)
            self._dimensions[collection] = {name: part.size for name, part in params.items()}
        return self._dimensions[collection]


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except ResponseHandlingException as error:
        raise UnavailableError(f"Qdrant does not answer: {error}", retry_after_s=1) from error
    except UnexpectedResponse as error:
        raise UnavailableError(f"Qdrant refused: {error}", retry_after_s=1) from error


def _request(query: VectorQuery) -> models.QueryRequest:
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in query.where
    ]
    must_not: list[models.Condition] = []
    if query.exclude:
        must_not.append(models.HasIdCondition(has_id=[point_id(item) for item in query.exclude]))
    return models.QueryRequest(
        query=query.vector.tolist(),
        using=query.name,
        limit=query.k,
        with_payload=[ITEM_ID],
        filter=models.Filter(must=must, must_not=must_not),
        params=models.SearchParams(exact=query.exact),
    )
