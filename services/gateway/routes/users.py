"""What is known of a user."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.gateway.access import Reader, Writer
from services.gateway.routes.resources import Held
from shared.contracts.common import UserId
from shared.contracts.public import UserEventPage

router = APIRouter(tags=["users"])

PathUserId = Annotated[UserId, Path(examples=["u-7"])]


@router.get("/v1/users/{user_id:path}/events", summary="List what a user did")
async def events(
    user_id: PathUserId,
    caller: Reader,
    held: Held,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> UserEventPage:
    """All events, newest first, also those that count as no positives. Pass `next_cursor` on to get
    the next page. A user of whom nothing is known has none."""
    return await held.users.page(caller.catalog_id, user_id, cursor=cursor, limit=limit)


@router.delete(
    "/v1/users/{user_id:path}",
    summary="Forget a user",
    status_code=HTTPStatus.NO_CONTENT,
)
async def forget(user_id: PathUserId, caller: Writer, held: Held) -> None:
    """Deletes the user's events, and takes the user's id from the log of recommendations. The next
    training run starts without them. 204 also where nothing was known."""
    await held.users.forget(caller.catalog_id, user_id)
