"""The training schedule of a catalogue."""

from http import HTTPStatus

from fastapi import APIRouter

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import TrainingSchedule, TrainingScheduleSet
from shared.errors import NotFoundError

PATH = "/v1/admin/training-schedule"

router = APIRouter(tags=["admin"])


@router.put(PATH, summary="Train by the clock, by new interactions, or both")
async def put(body: TrainingScheduleSet, caller: Admin, held: Held) -> TrainingSchedule:
    """While a run is under way, the one that is due waits for its end. A time that passed while
    nothing ran here is made up for by one run."""
    return await held.training_schedules.put(caller.catalog_id, body)


@router.get(PATH, summary="Read the training schedule", responses=problems(NotFoundError))
async def get(caller: Admin, held: Held) -> TrainingSchedule:
    return await held.training_schedules.get(caller.catalog_id)


@router.delete(
    PATH,
    summary="Train only when asked",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(NotFoundError),
)
async def remove(caller: Admin, held: Held) -> None:
    await held.training_schedules.remove(caller.catalog_id)
