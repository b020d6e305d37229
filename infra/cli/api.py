"""The public API as a client sees it: HTTP, a key, contracts."""

from typing import TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel

from shared.contracts.admin import Bundles, Training, TrainingCreate, Trainings
from shared.contracts.public import (
    Item,
    ItemCreate,
    RecommendationRequest,
    Recommendations,
    SimilarItems,
)
from shared.errors import UnavailableError, from_problem

TIMEOUT_S = 30.0

Answer = TypeVar("Answer", bound=BaseModel)


class Api:
    """Calls with one API key. Every method raises the MmesidError that the gateway answers with."""

    def __init__(self, base_url: str, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post_item(self, item: ItemCreate) -> Item:
        return await self._call("POST", "/v1/items", Item, item)

    async def item(self, item_id: str) -> Item:
        return await self._call("GET", f"/v1/items/{item_id}", Item)

    async def similar(self, item_id: str, k: int) -> SimilarItems:
        return await self._call("GET", f"/v1/items/{item_id}/similar?k={k}", SimilarItems)

    async def recommend(self, request: RecommendationRequest) -> Recommendations:
        return await self._call("POST", "/v1/recommendations", Recommendations, request)

    async def start_training(self, request: TrainingCreate) -> Training:
        return await self._call("POST", "/v1/admin/trainings", Training, request)

    async def training(self, run_id: UUID) -> Training:
        return await self._call("GET", f"/v1/admin/trainings/{run_id}", Training)

    async def trainings(self) -> Trainings:
        return await self._call("GET", "/v1/admin/trainings", Trainings)

    async def bundles(self) -> Bundles:
        return await self._call("GET", "/v1/admin/bundles", Bundles)

    async def _call(
        self, method: str, path: str, answer: type[Answer], body: BaseModel | None = None
    ) -> Answer:
        try:
            response = await self._client.request(
                method,
                path,
                content=None if body is None else body.model_dump_json(exclude_unset=True),
                headers={"Content-Type": "application/json"},
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the gateway does not answer: {error or type(error).__name__}"
            ) from error
        if response.is_error:
            raise from_problem(response.json())
        return answer.model_validate_json(response.content)
