"""Bundles."""

from fastapi import APIRouter

from services.gateway.access import Admin
from services.gateway.routes.resources import Held
from shared.contracts.admin import Bundles

router = APIRouter(tags=["admin"])


@router.get("/v1/admin/bundles", summary="List bundles")
async def all_bundles(caller: Admin, held: Held) -> Bundles:
    """The newest first, with their metrics; one is live at most."""
    return await held.bundles.all(caller.catalog_id)
