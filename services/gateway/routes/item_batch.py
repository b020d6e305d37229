"""Many items in one request."""

from http import HTTPStatus

from fastapi import APIRouter, Request

from services.gateway.access import Writer
from services.gateway.ndjson import NdjsonResponse, read_lines
from services.gateway.routes.ndjson_openapi import ndjson_body, ndjson_rows
from services.gateway.routes.resources import Held
from shared.contracts.public import ItemCreate

PATH = "/v1/items:batch"

router = APIRouter(tags=["items"])


@router.post(
    PATH,
    summary="Add many items",
    status_code=HTTPStatus.OK,
    response_class=NdjsonResponse,
    response_model=None,
    responses={200: ndjson_rows({"line": 1, "status": 201, "item_id": "mug-0042"})},
    openapi_extra=ndjson_body(ItemCreate),
)
async def create_many(request: Request, caller: Writer, held: Held) -> NdjsonResponse:
    """One item a line, as `POST /v1/items` takes it; of any length altogether. Each row of the
    answer has the line's number and the status that the item alone would have had."""
    lines = read_lines(request.stream(), max_bytes=held.batches.max_line_bytes)
    return NdjsonResponse(held.batches.rows(caller.catalog_id, lines))
