"""Items: post, read, change, delete, and find similar ones."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response

from services.gateway.access import Reader, Writer
from services.gateway.entity_tag import entity_tag, version_of
from services.gateway.errors import PreconditionFailedError, UnsupportedMediaTypeError
from services.gateway.item_body import OPENAPI_BODY, read_item_body
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from services.gateway.storable import require_storable
from shared.contracts.common import ItemId
from shared.contracts.public import Item, ItemPage, ItemPatch, SimilarItems
from shared.errors import ConflictError, NotFoundError, PayloadTooLargeError
from shared.modeling.modality import Modality

router = APIRouter(tags=["items"])

PathItemId = Annotated[ItemId, Path(examples=["mug-0042"])]
IfMatch = Annotated[
    str | None,
    Header(description="the ETag of the version to change; 412 if it was changed meanwhile"),
]


@router.post(
    "/v1/items",
    summary="Add an item",
    status_code=HTTPStatus.CREATED,
    response_model=Item,
    responses={
        200: {"model": Item, "description": "This item, with this content, was there already"},
        201: {"description": "The item is ready, or `problem` says why it cannot be"},
        202: {"model": Item, "description": "Accepted; its semantic IDs are being made"},
        **problems(ConflictError, PayloadTooLargeError, UnsupportedMediaTypeError),
    },
    openapi_extra=OPENAPI_BODY,
)
async def create(request: Request, response: Response, caller: Writer, held: Held) -> Item:
    """Send the image by URL, as base64 or as the file of a form. The answer waits some seconds for
    the semantic IDs; where they take longer it is 202, and `GET` shows them later."""
    body, image = await read_item_body(request)
    accepted = await held.intake.create(caller.catalog_id, body, image)
    if not accepted.is_new:
        response.status_code = HTTPStatus.OK
    elif accepted.item.status == "pending":
        response.status_code = HTTPStatus.ACCEPTED
    response.headers["ETag"] = entity_tag(accepted.item.version)
    return accepted.item


@router.get("/v1/items", summary="List items")
async def page(
    caller: Reader,
    held: Held,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    status: Annotated[Literal["pending", "ready", "failed"] | None, Query()] = None,
) -> ItemPage:
    """In the order of their arrival. Pass `next_cursor` on to get the next page."""
    return await held.reader.page(caller.catalog_id, cursor=cursor, limit=limit, status=status)


@router.get(
    "/v1/items/{item_id:path}/similar",
    summary="Find similar items",
    responses=problems(NotFoundError, ConflictError),
)
async def similar(
    item_id: PathItemId,
    caller: Reader,
    held: Held,
    k: Annotated[int, Query(ge=1, le=100)] = 10,
    modality: Annotated[
        Modality | None, Query(description="by this modality alone; by all of them if absent")
    ] = None,
) -> SimilarItems:
    """The nearest items by their vectors, best first."""
    require_storable(item_id, field="item_id")
    return await held.reader.similar(caller.catalog_id, item_id, k=k, modality=modality)


@router.get("/v1/items/{item_id:path}", summary="Read an item", responses=problems(NotFoundError))
async def get(item_id: PathItemId, response: Response, caller: Reader, held: Held) -> Item:
    """With its semantic IDs under the live bundle. The `ETag` stands for its version."""
    require_storable(item_id, field="item_id")
    item = await held.reader.get(caller.catalog_id, item_id)
    response.headers["ETag"] = entity_tag(item.version)
    return item


@router.patch(
    "/v1/items/{item_id:path}",
    summary="Change an item",
    responses={
        202: {"model": Item, "description": "Changed; its semantic IDs are being made"},
        **problems(NotFoundError, PayloadTooLargeError, PreconditionFailedError),
    },
)
async def patch(
    item_id: PathItemId,
    body: ItemPatch,
    response: Response,
    caller: Writer,
    held: Held,
    if_match: IfMatch = None,
) -> Item:
    """Fields left out stay as they are. The item gets a new version and new semantic IDs."""
    require_storable(item_id, field="item_id")
    item = await held.intake.patch(
        caller.catalog_id, item_id, body, if_version=version_of(if_match)
    )
    if item.status == "pending":
        response.status_code = HTTPStatus.ACCEPTED
    response.headers["ETag"] = entity_tag(item.version)
    return item


@router.delete(
    "/v1/items/{item_id:path}",
    summary="Delete an item",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFoundError, PreconditionFailedError),
)
async def delete(item_id: PathItemId, caller: Writer, held: Held, if_match: IfMatch = None) -> None:
    """It is no longer recommended. Its id can be used again."""
    require_storable(item_id, field="item_id")
    await held.intake.delete(caller.catalog_id, item_id, if_version=version_of(if_match))
