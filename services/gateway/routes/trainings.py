"""Training runs."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import Training, TrainingCreate, Trainings
from shared.errors import ConflictError, NotFoundError

router = APIRouter(tags=["admin"])


@router.post(
    "/v1/admin/trainings",
    summary="Train a new bundle",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(ConflictError),
)
async def start(body: TrainingCreate, response: Response, caller: Admin, held: Held) -> Training:
    """One run of a catalogue at a time. The bundle goes live when its gates pass."""
    training = await held.trainings.start(caller.catalog_id, body)
    response.headers["Location"] = f"/v1/admin/trainings/{training.run_id}"
    return training


@router.get("/v1/admin/trainings", summary="List training runs")
async def newest(
    caller: Admin, held: Held, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Trainings:
    """The newest first."""
    return await held.trainings.newest(caller.catalog_id, limit=limit)


@router.get(
    "/v1/admin/trainings/{run_id}",
    summary="Read a training run",
    responses=problems(NotFoundError),
)
async def get(run_id: UUID, caller: Admin, held: Held) -> Training:
    """Its stages with their progress and latest figures."""
    return await held.trainings.get(caller.catalog_id, run_id)


@router.post(
    "/v1/admin/trainings/{run_id}/cancel",
    summary="Cancel a training run",
    responses=problems(NotFoundError, ConflictError),
)
async def cancel(run_id: UUID, caller: Admin, held: Held) -> Training:
    """A queued run is cancelled at once, a running one at its next step."""
    return await held.trainings.cancel(caller.catalog_id, run_id)
