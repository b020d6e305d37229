"""Events without number in one request."""

from http import HTTPStatus

from fastapi import APIRouter, Request

from services.gateway.access import Writer
from services.gateway.ndjson import NdjsonResponse, read_lines
from services.gateway.routes.ndjson_openapi import ndjson_body, ndjson_rows
from services.gateway.routes.resources import Held
from shared.contracts.public import Event

PATH = "/v1/events:batch"

router = APIRouter(tags=["events"])


@router.post(
    PATH,
    summary="Record many events",
    status_code=HTTPStatus.OK,
    response_class=NdjsonResponse,
    response_model=None,
    responses={200: ndjson_rows({"line": 1, "status": 201})},
    openapi_extra=ndjson_body(Event),
)
async def record_many(request: Request, caller: Writer, held: Held) -> NdjsonResponse:
    """One event a line, as `POST /v1/events` takes it; of any length altogether. Each row of the
    answer has the line's number and a status: 201 stored, 200 known by its `event_id`, or what was
    wrong. Events without an `event_id` are stored again when they are sent again."""
    lines = read_lines(request.stream(), max_bytes=held.event_batches.max_line_bytes)
    return NdjsonResponse(held.event_batches.rows(caller.catalog_id, lines))
