"""Who is served by which bundle."""

from fastapi import APIRouter

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import Traffic, TrafficUpdate
from shared.errors import ConflictError

router = APIRouter(tags=["admin"])


@router.get("/v1/admin/traffic", summary="How the users are split among bundles")
async def get(caller: Admin, held: Held) -> Traffic:
    return await held.traffic.get(caller.catalog_id)


@router.put(
    "/v1/admin/traffic",
    summary="Split the users among bundles",
    responses=problems(ConflictError),
)
async def put(body: TrafficUpdate, caller: Admin, held: Held) -> Traffic:
    """Every bundle named serves its share of the users from now on, the live one the rest; an empty
    list ends it. Answers when the services have loaded them, which may take minutes. A share that
    grows keeps its users."""
    return await held.traffic.put(caller.catalog_id, body)
