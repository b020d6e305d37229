"""The body of POST /v1/events: one event, or a list of them."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import from_json

from services.gateway.content_type import content_type_of, unsupported
from services.gateway.problems import invalid_model, malformed_json
from shared.contracts.public import MOST_EVENTS, Event, EventBatch

_EVENT = Event.model_json_schema()
_EVENTS = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": MOST_EVENTS}
_LIST = {
    "title": "EventBatch",
    "type": "object",
    "required": ["events"],
    "properties": {"events": _EVENTS},
    "additionalProperties": False,
}

OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": [_EVENT, _LIST]}}},
    }
}


async def read_event_body(request: Request) -> Event | EventBatch:
    """A list where the body has the field `events`.

    Raises:
        InvalidInputError: the JSON or a field is wrong.
        UnsupportedMediaTypeError: it is no JSON.
    """
    kind = content_type_of(request)
    if kind != "application/json":
        raise unsupported(kind, "send application/json; POST /v1/events:batch takes NDJSON")
    try:
        document = from_json(await request.body())
    except ValueError as error:
        raise malformed_json(str(error)) from error
    is_list = isinstance(document, dict) and "events" in document
    try:
        return (EventBatch if is_list else Event).model_validate(document)
    except ValidationError as error:
        raise invalid_model(error) from error
