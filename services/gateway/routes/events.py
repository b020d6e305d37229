"""What users did."""

from fastapi import APIRouter

from services.gateway.access import Writer
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.public import EventBatch, EventResult
from shared.errors import PayloadTooLargeError

router = APIRouter(tags=["events"])


@router.post(
    "/v1/events", summary="Record events of users", responses=problems(PayloadTooLargeError)
)
async def record(body: EventBatch, caller: Writer, held: Held) -> EventResult:
    """Events with unknown items are rejected one by one, the others are stored. An `event_id` that
    was stored before is counted as a duplicate, so that a request can be sent again safely."""
    return await held.events.record(caller.catalog_id, body)
