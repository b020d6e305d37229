"""The service's HTTP surface."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from services.ranking.recommending import CANCELLED
from services.ranking.service import RankingService
from shared.contracts.common import CatalogId
from shared.contracts.empty import Done
from shared.contracts.ranking import RankRequest, RankResponse, UpsertItemsRequest
from shared.errors import (
    AbandonedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from shared.http import problem_responses, unless_disconnected

router = APIRouter()


def ranking_service(request: Request) -> RankingService:
    service: RankingService = request.app.state.service
    return service


Service = Annotated[RankingService, Depends(ranking_service)]


@router.post(
    "/rank", responses=problem_responses(InvalidInputError, OverloadedError, UnavailableError)
)
async def rank(body: RankRequest, service: Service, request: Request) -> RankResponse:
    """The best items for a history, over the whole catalogue."""
    try:
        return await unless_disconnected(request, service.rank(body))
    except AbandonedError:
        CANCELLED.labels("disconnect").inc()
        raise


@router.put("/items", responses=problem_responses(InvalidInputError, UnavailableError))
async def put_items(request: UpsertItemsRequest, service: Service) -> Done:
    """Add or change items of a loaded bundle."""
    await service.put(request)
    return Done()


@router.delete("/items/{item_id:path}", responses=problem_responses(NotFoundError))
async def remove(
    item_id: str,
    service: Service,
    catalog_id: Annotated[CatalogId, Query()],
    version: Annotated[int, Query(ge=0)],
) -> Done:
    """Recommend an item no more; one of a newer version stays."""
    await service.remove(catalog_id, item_id, version)
    return Done()
