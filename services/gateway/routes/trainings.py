"""Training runs."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import (
    RunState,
    Training,
    TrainingCreate,
    TrainingEstimate,
    TrainingLog,
    Trainings,
)
from shared.errors import ConflictError, NotFoundError

LAST_ID = 2**63 - 1

router = APIRouter(tags=["admin"])


@router.post(
    "/v1/admin/trainings",
    summary="Train a new bundle",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Training,
    responses={
        200: {"description": "With `dry_run`: what it would take", "model": TrainingEstimate},
        **problems(ConflictError),
    },
)
async def start(
    body: TrainingCreate,
    response: Response,
    caller: Admin,
    held: Held,
    dry_run: Annotated[bool, Query(description="estimate only, start nothing")] = False,
) -> Training | Response:
    """One run of a catalogue at a time. The bundle goes live when its gates pass."""
    if dry_run:
        held.trainings.check(body)
        estimate = await held.training_estimator.estimate(caller.catalog_id)
        return Response(estimate.model_dump_json(), media_type="application/json")
    training = await held.trainings.start(caller.catalog_id, body)
    response.headers["Location"] = f"/v1/admin/trainings/{training.run_id}"
    return training


@router.get("/v1/admin/trainings", summary="List training runs")
async def page(
    caller: Admin,
    held: Held,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    state: RunState | None = None,
    cursor: str | None = None,
) -> Trainings:
    """The newest first: all, or those of a state."""
    return await held.trainings.page(caller.catalog_id, state=state, cursor=cursor, limit=limit)


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


@router.post(
    "/v1/admin/trainings/{run_id}/retry",
    summary="Try a training run again",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(NotFoundError, ConflictError),
)
async def retry(run_id: UUID, response: Response, caller: Admin, held: Held) -> Training:
    """A new run with the request of one that failed or was cancelled. It goes on from that one's
    completed stages, its data among them, as long as their files are kept: until another run of
    the catalogue ends. What comes after the fine-tuning is done again in any case."""
    training = await held.trainings.retry(caller.catalog_id, run_id)
    response.headers["Location"] = f"/v1/admin/trainings/{training.run_id}"
    return training


@router.get(
    "/v1/admin/trainings/{run_id}/logs",
    summary="Read the log of a training run",
    responses=problems(NotFoundError),
)
async def logs(
    run_id: UUID,
    caller: Admin,
    held: Held,
    after: Annotated[int, Query(ge=0, le=LAST_ID, description="the id of a line")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> TrainingLog:
    """The lines after one, oldest first; those of all workers that had the run."""
    return await held.training_watcher.log(caller.catalog_id, run_id, after=after, limit=limit)


async def _found(run_id: UUID, caller: Admin, held: Held) -> UUID:
    """Asked before the stream begins, when the answer can still be a problem."""
    return (await held.trainings.get(caller.catalog_id, run_id)).run_id


@router.get(
    "/v1/admin/trainings/{run_id}/events",
    summary="Follow a training run",
    response_class=EventSourceResponse,
    responses=problems(NotFoundError),
)
async def events(
    run_id: Annotated[UUID, Depends(_found)],
    caller: Admin,
    held: Held,
    last_event_id: Annotated[int, Header(ge=0, le=LAST_ID)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` with the run whenever it changed, `log` with each line, `end`
    with the run when it is over. `Last-Event-ID` leaves out the lines that came already."""
    async for event in held.training_watcher.follow(caller.catalog_id, run_id, after=last_event_id):
        yield event
