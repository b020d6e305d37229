"""The service's HTTP surface."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from services.tokenization.service import TokenizationService
from shared.contracts.common import CatalogId
from shared.contracts.empty import Done
from shared.contracts.tokenization import (
    IndexRequest,
    SimilarResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from shared.errors import InvalidInputError, NotFoundError, UnavailableError
from shared.http import problem_responses
from shared.modeling.modality import Modality

router = APIRouter()


def tokenization_service(request: Request) -> TokenizationService:
    service: TokenizationService = request.app.state.service
    return service


Service = Annotated[TokenizationService, Depends(tokenization_service)]


@router.post("/tokenize", responses=problem_responses(InvalidInputError, UnavailableError))
async def tokenize(request: TokenizeRequest, service: Service) -> TokenizeResponse:
    """Semantic IDs of items; the vectors they lack are imputed from their neighbours."""
    return await service.tokenize(request)


@router.put("/items", responses=problem_responses(InvalidInputError, UnavailableError))
async def index(request: IndexRequest, service: Service) -> Done:
    """Index items under a loaded bundle."""
    await service.index(request)
    return Done()


@router.get(
    "/items/{item_id:path}/similar", responses=problem_responses(NotFoundError, UnavailableError)
)
async def similar(
    item_id: str,
    service: Service,
    catalog_id: Annotated[CatalogId, Query()],
    k: Annotated[int, Query(ge=1, le=1000)] = 10,
    modality: Modality | None = None,
) -> SimilarResponse:
    """The most similar items, by content or by one modality."""
    return await service.similar(catalog_id, item_id, k, modality)


@router.delete("/items/{item_id:path}", responses=problem_responses(NotFoundError))
async def remove(
    item_id: str,
    service: Service,
    catalog_id: Annotated[CatalogId, Query()],
    version: Annotated[int, Query(ge=0)],
) -> Done:
    """Take an item from the index; one of a newer version stays."""
    await service.remove(catalog_id, item_id, version)
    return Done()
