"""The embedding service as an ASGI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import structlog
from fastapi import FastAPI

from services.embedding.encoding import EmbeddingQueue, LoadedEncoders
from services.embedding.routes import router
from shared.computing import apart
from shared.errors import UnavailableError
from shared.http import BodyLimit, health_routes, install_problem_handlers
from shared.settings import Settings

# A request may carry this many images of the largest size, or more smaller ones.
LARGEST_IMAGES_A_REQUEST = 8

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """The app. Its start loads the encoders, so that a process that serves is ready."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        encoders = await apart(LoadedEncoders.load, settings.encoders)
        log.info("encoders loaded", **encoders.describe().model_dump())
        async with httpx.AsyncClient(trust_env=False) as client:
            queue = EmbeddingQueue(encoders, settings.encoders, settings.images, client)
            app.state.queue = queue
            yield
            await queue.close()

    async def ready() -> dict[str, Any]:
        queue: EmbeddingQueue | None = getattr(app.state, "queue", None)
        if queue is None or queue.closed:
            raise UnavailableError("The encoders are not loaded, or the service is shutting down.")
        return {"encoders": queue.encoders.describe().model_dump(), "waiting": queue.waiting}

    app = FastAPI(title="mmesid embedding", lifespan=lifespan)
    install_problem_handlers(app)
    app.include_router(router)
    app.include_router(health_routes(ready))
    app.add_middleware(
        BodyLimit,
        max_bytes=LARGEST_IMAGES_A_REQUEST * settings.images.max_bytes * 4 // 3 + 2**20,
        unlimited_paths=frozenset(),
    )
    return app
