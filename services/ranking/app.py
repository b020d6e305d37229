"""The ranking service as an ASGI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from services.ranking.routes import router
from services.ranking.service import RankingService
from shared.http import health_routes, install_problem_handlers
from shared.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The app. It answers from the first moment; bundles are loaded in the background."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = RankingService.open(settings)
        yield
        await service.close()

    async def ready() -> dict[str, Any]:
        service: RankingService = app.state.service
        service.follower.require_ready()
        statuses = service.statuses()
        return {
            "bundle": statuses[0].active,
            "bundles": {status.catalog_id: status.active for status in statuses},
            "items": sum(status.items for status in statuses),
        }

    app = FastAPI(title="mmesid ranking", lifespan=lifespan)
    install_problem_handlers(app)
    app.include_router(router)
    app.include_router(health_routes(ready))
    return app
