"""Bundles: which there are, which one is live, and how well they do."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from pydantic import AwareDatetime

from services.gateway.access import Admin
from services.gateway.problems import problems
from services.gateway.routes.resources import Held
from shared.contracts.admin import Bundle, BundleActivate, BundleMetrics, Bundles
from shared.contracts.common import BundleVersion
from shared.errors import ConflictError, NotFoundError

router = APIRouter(tags=["admin"])

Version = Annotated[BundleVersion, Path()]
Moment = Annotated[AwareDatetime | None, Query(description="with a time zone")]


@router.get("/v1/admin/bundles", summary="List bundles")
async def all_bundles(caller: Admin, held: Held) -> Bundles:
    """The newest first, with their metrics; one is live at most."""
    return await held.bundles.all(caller.catalog_id)


@router.post(
    "/v1/admin/bundles/rollback",
    summary="Go back to the bundle that was live before",
    responses=problems(ConflictError),
)
async def rollback(caller: Admin, held: Held) -> Bundle:
    """Answers when the services serve from it; they keep it loaded, so that this is quick."""
    return await held.activation.rollback(caller.catalog_id)


@router.post(
    "/v1/admin/bundles/{version}/activate",
    summary="Make a bundle live",
    responses=problems(NotFoundError, ConflictError),
)
async def activate(
    version: Version,
    caller: Admin,
    held: Held,
    body: Annotated[BundleActivate | None, Body()] = None,
) -> Bundle:
    """Answers when the services serve from it; loading it first may take minutes. One whose gates
    failed is refused unless `force` is true. A share of the traffic that it had ends."""
    force = body is not None and body.force
    return await held.activation.activate(caller.catalog_id, version, force=force)


@router.get(
    "/v1/admin/bundles/{version}/metrics",
    summary="How well a bundle serves its users",
    responses=problems(NotFoundError),
)
async def metrics(
    version: Version, caller: Admin, held: Held, since: Moment = None, until: Moment = None
) -> BundleMetrics:
    """Of the lists that it gave, by the events that echo their `recommendation_id`. The latest
    lists are counted after half a second."""
    return await held.metrics.of(caller.catalog_id, version, since=since, until=until)
