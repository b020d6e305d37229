"""The ASGI app of a service that serves from bundles: its life, its health, its bundle routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request

from shared.bundle_follower import BundleFollower
from shared.contracts.common import BundleReference, BundleStatus
from shared.errors import NotFoundError, UnavailableError
from shared.http import health_routes, install_problem_handlers, problem_responses


class BundleService(Protocol):
    """What ranking and tokenization have in common."""

    @property
    def follower(self) -> BundleFollower[Any]: ...
    def status(self, catalog_id: str) -> BundleStatus: ...
    def statuses(self) -> list[BundleStatus]: ...
    async def close(self) -> None: ...


def create_bundle_app(
    title: str, open_service: Callable[[], BundleService], routes: APIRouter
) -> FastAPI:
    """The app, its service in `app.state.service`.

    It answers from the first moment; bundles are loaded in the background.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = open_service()
        yield
        await service.close()

    async def ready() -> dict[str, Any]:
        service: BundleService = app.state.service
        service.follower.require_ready()
        statuses = service.statuses()
        engines = {
            status.catalog_id: {"name": status.engine.name, "engine_ready": status.engine_ready}
            for status in statuses
            if status.engine is not None
        }
        return {
            "bundle": statuses[0].active,
            "bundles": {status.catalog_id: status.active for status in statuses},
            "items": sum(status.items for status in statuses),
            **({"engines": engines} if engines else {}),
        }

    app = FastAPI(title=title, lifespan=lifespan)
    install_problem_handlers(app)
    app.include_router(routes)
    app.include_router(bundle_routes)
    app.include_router(health_routes(ready))
    return app


bundle_routes = APIRouter()


def bundle_service(request: Request) -> BundleService:
    service: BundleService = request.app.state.service
    return service


Service = Annotated[BundleService, Depends(bundle_service)]


@bundle_routes.post(
    "/bundles/load",
    responses=problem_responses(NotFoundError, UnavailableError),
    response_model_exclude_unset=True,
)
async def load_bundle(request: BundleReference, service: Service) -> BundleStatus:
    """Load a bundle beside the live one and make it ready; it is not served from yet."""
    await service.follower.load(request.catalog_id, request.version)
    return service.status(request.catalog_id)


@bundle_routes.post(
    "/bundles/activate",
    responses=problem_responses(NotFoundError, UnavailableError),
    response_model_exclude_unset=True,
)
async def activate_bundle(request: BundleReference, service: Service) -> BundleStatus:
    """Serve from this bundle."""
    await service.follower.activate(request.catalog_id, request.version)
    return service.status(request.catalog_id)


@bundle_routes.get("/bundles", response_model_exclude_unset=True)
async def bundles(service: Service) -> list[BundleStatus]:
    """What is loaded and served, a row a catalogue."""
    return service.statuses()
