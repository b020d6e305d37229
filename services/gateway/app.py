"""The gateway's application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from services.gateway.problems import install_gateway_problems, problems
from services.gateway.request_context import RequestContext
from services.gateway.resources import Resources, open_resources
from services.gateway.routes import (
    bundles,
    embedding_backfills,
    event_batch,
    events,
    item_batch,
    items,
    recommendations,
    traffic,
    training_schedule,
    trainings,
    users,
)
from shared.errors import (
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from shared.http import BodyLimit, health_routes
from shared.settings import Settings

TAGS = [
    {"name": "items", "description": "The catalogue: items and their semantic IDs"},
    {"name": "recommendations", "description": "Ranked lists for users"},
    {"name": "events", "description": "What users did, to rank by and to train on"},
    {"name": "users", "description": "What is known of a user"},
    {
        "name": "admin",
        "description": "Training runs, backfills, bundles, traffic; needs the scope `admin`",
    },
]


def create_app(settings: Settings) -> FastAPI:
    """The public API; its connections are opened and closed with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            yield

    app = FastAPI(
        title="mmesid",
        summary="Multimodal semantic IDs for items, ranked lists for users",
        description="Every error is a problem document (RFC 9457). A key opens one catalogue.",
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    install_gateway_problems(app)
    api = APIRouter(
        responses=problems(
            UnauthenticatedError, ForbiddenError, InvalidInputError, UnavailableError
        )
    )
    for domain in (
        item_batch,
        items,
        recommendations,
        event_batch,
        events,
        users,
        trainings,
        training_schedule,
        embedding_backfills,
        bundles,
        traffic,
    ):
        api.include_router(domain.router)
    app.include_router(api)

    async def ready() -> dict[str, Any]:
        resources: Resources = app.state.resources
        return await resources.readiness.check()

    app.include_router(health_routes(ready))
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.gateway.max_body_bytes,
        unlimited_paths=frozenset({item_batch.PATH, event_batch.PATH}),
    )
    app.add_middleware(RequestContext)
    return app
