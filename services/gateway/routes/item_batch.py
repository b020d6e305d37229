"""Many items in one request."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request

from services.gateway.access import Writer
from services.gateway.ndjson import NdjsonResponse, read_lines
from services.gateway.routes.resources import Held
from shared.contracts.public import BatchRow, ItemCreate

PATH = "/v1/items:batch"

router = APIRouter(tags=["items"])

_ROWS: dict[str, Any] = {
    "description": "One row a line of the request, in its order, as soon as it is known",
    "content": {
        "application/x-ndjson": {
            "schema": BatchRow.model_json_schema(ref_template="#/components/schemas/{model}"),
            "example": {"line": 1, "status": 201, "item_id": "mug-0042"},
        }
    },
}
_ROWS["content"]["application/x-ndjson"]["schema"].pop("$defs", None)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/x-ndjson": {"schema": ItemCreate.model_json_schema()}},
    }
}


@router.post(
    PATH,
    summary="Add many items",
    status_code=HTTPStatus.OK,
    response_class=NdjsonResponse,
    response_model=None,
    responses={200: _ROWS},
    openapi_extra=_BODY,
)
async def create_many(request: Request, caller: Writer, held: Held) -> NdjsonResponse:
    """One item a line, as `POST /v1/items` takes it; of any length altogether. Each row of the
    answer has the line's number and the status that the item alone would have had."""
    lines = read_lines(request.stream(), max_bytes=held.batches.max_line_bytes)
    return NdjsonResponse(held.batches.rows(caller.catalog_id, lines))
