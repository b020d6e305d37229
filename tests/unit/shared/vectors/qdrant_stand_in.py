"""A stand-in for Qdrant's server, where no server can be had: its HTTP over the embedded engine.

It is no Qdrant server: one process, one shard a collection, and only what `ServerVectorStore` asks
for. Requests are read, and answers written, with the models that qdrant-client has generated from
Qdrant's published OpenAPI description: what they do not know is refused.
"""

from pathlib import Path
from typing import Any

import qdrant_edge as edge
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from qdrant_client.http import models


class RefusedError(Exception):
    def __init__(self, status: int, error: str) -> None:
        self.status = status
        self.error = error


class Collection:
    """One collection: the engine's shard, and the parameters it was made with."""

    def __init__(self, folder: Path, wanted: models.CreateCollection) -> None:
        assert isinstance(wanted.vectors, dict)
        self.vectors = wanted.vectors
        folder.mkdir()
        self.shard = edge.EdgeShard.create(
            str(folder),
            edge.EdgeConfig(
                vectors={
                    name: edge.EdgeVectorParams(size=part.size, distance=edge.Distance.Cosine)
                    for name, part in wanted.vectors.items()
                }
            ),
        )

    def count(self) -> int:
        return int(self.shard.count(edge.CountRequest(exact=True)))

    def info(self) -> models.CollectionInfo:
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            points_count=self.count(),
            segments_count=1,
            config=models.CollectionConfig(
                params=models.CollectionParams(vectors=self.vectors),
                hnsw_config=models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
                optimizer_config=models.OptimizersConfig(
                    deleted_threshold=0.2,
                    vacuum_min_vector_number=1000,
                    default_segment_number=0,
                    flush_interval_sec=5,
                ),
            ),
            payload_schema={},
        )

    def index_field(self, wanted: models.CreateFieldIndex) -> None:
        assert wanted.field_schema == models.PayloadSchemaType.KEYWORD
        kind = edge.PayloadSchemaType.Keyword
        self.shard.update(edge.UpdateOperation.create_field_index(wanted.field_name, kind))

    def upsert(self, wanted: models.PointsList) -> None:
        points = [edge.Point(str(one.id), one.vector, one.payload) for one in wanted.points]
        self.shard.update(edge.UpdateOperation.upsert_points(points))

    def delete(self, wanted: models.PointIdsList) -> None:
        ids = [str(one) for one in wanted.points]
        self.shard.update(edge.UpdateOperation.delete_points(ids))

    def retrieve(self, wanted: models.PointRequest) -> list[models.Record]:
        found = self.shard.retrieve(
            [str(one) for one in wanted.ids],
            with_payload=wanted.with_payload,
            with_vector=wanted.with_vector,
        )
        return [_record(one) for one in found]

    def scroll(self, wanted: models.ScrollRequest) -> models.ScrollResult:
        records, offset = self.shard.scroll(
            edge.ScrollRequest(
                offset=None if wanted.offset is None else str(wanted.offset),
                limit=wanted.limit,
                with_payload=wanted.with_payload,
                with_vector=wanted.with_vector,
            )
        )
        return models.ScrollResult(
            points=[_record(one) for one in records],
            next_page_offset=None if offset is None else str(offset),
        )

    def query(self, wanted: models.QueryRequestBatch) -> list[models.QueryResponse]:
        request = edge.QueryBatchRequest([_query(one) for one in wanted.searches])
        return [
            models.QueryResponse(
                points=[
                    models.ScoredPoint(
                        id=str(one.id), version=0, score=one.score, payload=one.payload
                    )
                    for one in points
                ]
            )
            for points in self.shard.query_batch(request)
        ]


def _record(one: Any) -> models.Record:
    return models.Record(id=str(one.id), payload=one.payload, vector=one.vector or None)


def _query(wanted: models.QueryRequest) -> Any:
    assert isinstance(wanted.query, models.NearestQuery)
    wanted_filter = wanted.filter or models.Filter()
    return edge.QueryRequest(
        limit=wanted.limit,
        query=edge.Query.Nearest(wanted.query.nearest, using=wanted.using),
        with_payload=wanted.with_payload,
        filter=edge.Filter(
            must=[
                edge.FieldCondition(one.key, match=edge.MatchValue(one.match.value))
                for one in wanted_filter.must or []
            ],
            must_not=[
                edge.HasIdCondition({str(id_) for id_ in one.has_id})
                for one in wanted_filter.must_not or []
            ],
        ),
        params=edge.SearchParams(exact=bool(wanted.params and wanted.params.exact)),
    )


def qdrant_stand_in(folder: Path) -> FastAPI:
    """The stand-in; what it stores lies in the folder."""
    app = FastAPI()
    collections: dict[str, Collection] = {}
    aliases: dict[str, str] = {}

    def named(name: str) -> Collection:
        found = collections.get(aliases.get(name, name))
        if found is None:
            raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse({"status": {"error": error.error}, "time": 0.0}, error.status)

    @app.get("/")
    async def version() -> dict[str, str]:
        return {"title": "a stand-in for qdrant", "version": "0.0.0"}

    @app.get("/collections")
    async def list_collections() -> dict[str, Any]:
        found = [models.CollectionDescription(name=name) for name in collections]
        return _ok(models.CollectionsResponse(collections=found))

    @app.get("/collections/{name}/exists")
    async def exists(name: str) -> dict[str, Any]:
        return _ok(models.CollectionExistence(exists=aliases.get(name, name) in collections))

    @app.put("/collections/{name}")
    async def create(name: str, wanted: models.CreateCollection) -> dict[str, Any]:
        if name in collections:
            raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
        collections[name] = Collection(folder / name, wanted)
        return _ok(True)

    @app.get("/collections/{name}")
    async def info(name: str) -> dict[str, Any]:
        return _ok(named(name).info())

    @app.delete("/collections/{name}")
    async def drop(name: str) -> dict[str, Any]:
        named(name).shard.close()
        del collections[name]
        return _ok(True)

    @app.get("/aliases")
    async def list_aliases() -> dict[str, Any]:
        found = [
            models.AliasDescription(alias_name=alias, collection_name=name)
            for alias, name in aliases.items()
        ]
        return _ok(models.CollectionsAliasesResponse(aliases=found))

    @app.post("/collections/aliases")
    async def change_aliases(wanted: models.ChangeAliasesOperation) -> dict[str, Any]:
        for action in wanted.actions:
            if isinstance(action, models.DeleteAliasOperation):
                del aliases[action.delete_alias.alias_name]
            else:
                assert isinstance(action, models.CreateAliasOperation)
                named(action.create_alias.collection_name)
                aliases[action.create_alias.alias_name] = action.create_alias.collection_name
        return _ok(True)

    @app.put("/collections/{name}/index")
    async def index(name: str, wanted: models.CreateFieldIndex) -> dict[str, Any]:
        named(name).index_field(wanted)
        return _updated()

    @app.put("/collections/{name}/points")
    async def upsert(name: str, wanted: models.PointsList) -> dict[str, Any]:
        named(name).upsert(wanted)
        return _updated()

    @app.post("/collections/{name}/points/delete")
    async def delete(name: str, wanted: models.PointIdsList) -> dict[str, Any]:
        named(name).delete(wanted)
        return _updated()

    @app.post("/collections/{name}/points")
    async def retrieve(name: str, wanted: models.PointRequest) -> dict[str, Any]:
        return _ok(named(name).retrieve(wanted))

    @app.post("/collections/{name}/points/scroll")
    async def scroll(name: str, wanted: models.ScrollRequest) -> dict[str, Any]:
        return _ok(named(name).scroll(wanted))

    @app.post("/collections/{name}/points/query/batch")
    async def query(name: str, wanted: models.QueryRequestBatch) -> dict[str, Any]:
        return _ok(named(name).query(wanted))

    @app.post("/collections/{name}/points/count")
    async def count(name: str, wanted: models.CountRequest) -> dict[str, Any]:
        assert wanted.exact
        return _ok(models.CountResult(count=named(name).count()))

    return app


def _updated() -> dict[str, Any]:
    return _ok(models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED))


def _ok(result: bool | BaseModel | list[Any]) -> dict[str, Any]:
    if isinstance(result, list):
        written: Any = [one.model_dump(mode="json", exclude_none=True) for one in result]
    elif isinstance(result, BaseModel):
        written = result.model_dump(mode="json", exclude_none=True)
    else:
        written = result
    return {"result": written, "status": "ok", "time": 0.0}
