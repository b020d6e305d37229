"""What users did."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from services.gateway.access import Writer
from services.gateway.errors import UnsupportedMediaTypeError
from services.gateway.event_body import OPENAPI_BODY, read_event_body
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.public import Event, EventResult
from shared.errors import PayloadTooLargeError

router = APIRouter(tags=["events"])


@router.post(
    "/v1/events",
    summary="Record events of users",
    status_code=HTTPStatus.OK,
    response_model=EventResult,
    responses={
        200: {"description": "A list was read, or the one event was known already"},
        201: {"model": EventResult, "description": "The one event was stored"},
        **problems(PayloadTooLargeError, UnsupportedMediaTypeError),
    },
    openapi_extra=OPENAPI_BODY,
)
async def record(request: Request, response: Response, caller: Writer, held: Held) -> EventResult:
    """Send one event, or `{"events": [...]}`. Of a list, events with unknown items are rejected one
    by one and the others stored. An `event_id` that was stored before is counted as a duplicate, so
    that a request can be sent again safely."""
    body = await read_event_body(request)
    if not isinstance(body, Event):
        return await held.events.record_all(caller.catalog_id, body)
    result = await held.events.record(caller.catalog_id, body)
    if result.accepted:
        response.status_code = HTTPStatus.CREATED
    return result
