"""Ranked lists for users."""

from fastapi import APIRouter, Request

from services.gateway.access import Reader
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.public import RecommendationRequest, Recommendations
from shared.errors import OverloadedError, PayloadTooLargeError
from shared.http import unless_disconnected

router = APIRouter(tags=["recommendations"])


@router.post(
    "/v1/recommendations",
    summary="Recommend items",
    responses=problems(PayloadTooLargeError, OverloadedError),
)
async def recommend(
    body: RecommendationRequest, caller: Reader, held: Held, request: Request
) -> Recommendations:
    """The best items of the whole catalogue for a history, or for a user whose events are known.
    Without a history these are the popular ones, and `source` says so. While the ranker is away or
    too slow something simpler answers, and `fallback` says why."""
    return await unless_disconnected(request, held.recommender.recommend(caller.catalog_id, body))
