"""Embedding backfills."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import EmbeddingBackfill, EmbeddingBackfills
from shared.errors import ConflictError, NotFoundError

PATH = "/v1/admin/embedding-backfills"

router = APIRouter(tags=["admin"])


@router.post(
    PATH,
    summary="Embed the whole catalogue",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(ConflictError),
)
async def start(response: Response, caller: Admin, held: Held) -> EmbeddingBackfill:
    """By the encoders that the embedding service runs now; what is stored of them is not made
    again. One backfill of a catalogue at a time."""
    backfill = await held.backfills.start(caller.catalog_id)
    response.headers["Location"] = f"{PATH}/{backfill.backfill_id}"
    return backfill


@router.get(PATH, summary="List embedding backfills")
async def newest(
    caller: Admin, held: Held, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> EmbeddingBackfills:
    return await held.backfills.newest(caller.catalog_id, limit=limit)


@router.get(
    f"{PATH}/{{backfill_id}}",
    summary="Read an embedding backfill",
    responses=problems(NotFoundError),
)
async def get(backfill_id: UUID, caller: Admin, held: Held) -> EmbeddingBackfill:
    """How far it is, how fast, and how long it will take."""
    return await held.backfills.get(caller.catalog_id, backfill_id)


@router.post(
    f"{PATH}/{{backfill_id}}/cancel",
    summary="Cancel an embedding backfill",
    responses=problems(NotFoundError, ConflictError),
)
async def cancel(backfill_id: UUID, caller: Admin, held: Held) -> EmbeddingBackfill:
    """Workers stop at their next step. The vectors that were stored stay."""
    return await held.backfills.cancel(caller.catalog_id, backfill_id)
