"""The public API as a client sees it: HTTP, a key, contracts."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import BaseModel

from shared.contracts.admin import (
    Bundle,
    BundleActivate,
    BundleMetrics,
    Bundles,
    EmbeddingBackfill,
    EmbeddingBackfills,
    Traffic,
    TrafficUpdate,
    Training,
    TrainingCreate,
    TrainingEstimate,
    TrainingLog,
    Trainings,
    TrainingSchedule,
    TrainingScheduleSet,
)
from shared.contracts.public import (
    BatchRow,
    Item,
    ItemCreate,
    RecommendationRequest,
    Recommendations,
    SimilarItems,
)
from shared.errors import MmesidError, UnavailableError, from_problem
from shared.http import PROBLEM_JSON

TIMEOUT_S = 30.0
# Of calls that are answered when the services have loaded a bundle.
LOADING_TIMEOUT_S = 1800.0
RUNS = "/v1/admin/trainings"
BUNDLES = "/v1/admin/bundles"
TRAFFIC = "/v1/admin/traffic"
SCHEDULE = "/v1/admin/training-schedule"
BACKFILLS = "/v1/admin/embedding-backfills"

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

    async def post_events(self, lines: bytes) -> AsyncIterator[BatchRow]:
        """One event a line in; the result of each, as soon as it is stored."""
        headers = {"Content-Type": "application/x-ndjson"}
        call = self._client.stream("POST", "/v1/events:batch", content=lines, headers=headers)
        try:
            async with call as response:
                if response.is_error:
                    await response.aread()
                    raise _error_of(response)
                rest = b""
                async for chunk in response.aiter_bytes():
                    *rows, rest = (rest + chunk).split(b"\n")
                    for row in rows:
                        yield BatchRow.model_validate_json(row)
        except httpx.HTTPError as error:
            raise _no_answer(error) from error

    async def start_training(self, request: TrainingCreate) -> Training:
        return await self._call("POST", RUNS, Training, request)

    async def estimate_training(self, request: TrainingCreate) -> TrainingEstimate:
        """What the run would be trained on, and for how long; starts nothing."""
        return await self._call("POST", f"{RUNS}?dry_run=true", TrainingEstimate, request)

    async def training(self, run_id: UUID) -> Training:
        return await self._call("GET", f"{RUNS}/{run_id}", Training)

    async def trainings(
        self, *, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Trainings:
        """A page of the runs, newest first: all, or those of a state."""
        params = {"state": state, "limit": limit, "cursor": cursor}
        return await self._call("GET", RUNS, Trainings, params=params)

    async def training_log(self, run_id: UUID, *, after: int) -> TrainingLog:
        """The lines after one; an empty page where there are no more yet."""
        return await self._call(
            "GET", f"{RUNS}/{run_id}/logs", TrainingLog, params={"after": after}
        )

    async def cancel_training(self, run_id: UUID) -> Training:
        return await self._call("POST", f"{RUNS}/{run_id}/cancel", Training)

    async def retry_training(self, run_id: UUID) -> Training:
        return await self._call("POST", f"{RUNS}/{run_id}/retry", Training)

    async def training_schedule(self) -> TrainingSchedule:
        return await self._call("GET", SCHEDULE, TrainingSchedule)

    async def set_training_schedule(self, wanted: TrainingScheduleSet) -> TrainingSchedule:
        return await self._call("PUT", SCHEDULE, TrainingSchedule, wanted)

    async def remove_training_schedule(self) -> None:
        await self._request("DELETE", SCHEDULE)

    async def start_backfill(self) -> EmbeddingBackfill:
        return await self._call("POST", BACKFILLS, EmbeddingBackfill)

    async def backfill(self, backfill_id: UUID) -> EmbeddingBackfill:
        return await self._call("GET", f"{BACKFILLS}/{backfill_id}", EmbeddingBackfill)

    async def backfills(self, *, limit: int) -> EmbeddingBackfills:
        """Newest first."""
        return await self._call("GET", BACKFILLS, EmbeddingBackfills, params={"limit": limit})

    async def cancel_backfill(self, backfill_id: UUID) -> EmbeddingBackfill:
        return await self._call("POST", f"{BACKFILLS}/{backfill_id}/cancel", EmbeddingBackfill)

    async def bundles(self) -> Bundles:
        return await self._call("GET", BUNDLES, Bundles)

    async def bundle_metrics(
        self, version: str, *, since: datetime | None, until: datetime | None
    ) -> BundleMetrics:
        params = {
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
        }
        path = f"{BUNDLES}/{quote(version, safe='')}/metrics"
        return await self._call("GET", path, BundleMetrics, params=params)

    async def activate_bundle(self, version: str, *, force: bool) -> Bundle:
        """Returns when the services serve from it."""
        path = f"{BUNDLES}/{quote(version, safe='')}/activate"
        body = BundleActivate(force=force)
        return await self._call("POST", path, Bundle, body, timeout_s=LOADING_TIMEOUT_S)

    async def roll_back(self) -> Bundle:
        """Returns when the services serve from the bundle that was live before."""
        path = f"{BUNDLES}/rollback"
        return await self._call("POST", path, Bundle, timeout_s=LOADING_TIMEOUT_S)

    async def traffic(self) -> Traffic:
        return await self._call("GET", TRAFFIC, Traffic)

    async def set_traffic(self, update: TrafficUpdate) -> Traffic:
        """Returns when the services have loaded the bundles."""
        return await self._call("PUT", TRAFFIC, Traffic, update, timeout_s=LOADING_TIMEOUT_S)

    async def _call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        body: BaseModel | None = None,
        *,
        params: dict[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        response = await self._request(method, path, body, params=params, timeout_s=timeout_s)
        return answer.model_validate_json(response.content)

    async def _request(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        *,
        params: dict[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        """Parameters that are None are left out."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            response = await self._client.request(
                method,
                path,
                content=None if body is None else body.model_dump_json(exclude_unset=True),
                headers={"Content-Type": "application/json"},
                params=given or None,
                timeout=timeout_s,
            )
        except httpx.HTTPError as error:
            raise _no_answer(error) from error
        if response.is_error:
            raise _error_of(response)
        return response


def _no_answer(error: httpx.HTTPError) -> UnavailableError:
    return UnavailableError(f"the gateway does not answer: {str(error) or type(error).__name__}")


def _error_of(response: httpx.Response) -> MmesidError:
    """Something between the gateway and us answers without a problem document."""
    if response.headers.get("content-type", "").startswith(PROBLEM_JSON):
        return from_problem(response.json())
    return UnavailableError(f"{response.url} answered {response.status_code}")
