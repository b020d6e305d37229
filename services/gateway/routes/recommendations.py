"""Ranked lists for users."""

from fastapi import APIRouter

from services.gateway.access import Reader
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.public import RecommendationRequest, Recommendations
from shared.errors import OverloadedError, PayloadTooLargeError

router = APIRouter(tags=["recommendations"])


@router.post(
    "/v1/recommendations",
    summary="Recommend items",
    responses=problems(PayloadTooLargeError, OverloadedError),
)
async def recommend(body: RecommendationRequest, caller: Reader, held: Held) -> Recommendations:
    """The best items of the whole catalogue for a history, or for a user whose events are known.
    Without a history these are the popular ones, and `source` says so."""
    return await held.recommender.recommend(caller.catalog_id, body)
