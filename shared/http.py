"""What the HTTP side of every service has in common: problem documents, health, metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.contracts.common import Problem
from shared.errors import (
    AbandonedError,
    FieldProblem,
    InvalidInputError,
    MmesidError,
    PayloadTooLargeError,
)
from shared.settings import ServerSettings

PROBLEM_JSON = "application/problem+json"
# What a process that is told to end has for the requests that it has begun with.
FINISH_WITHIN_S = 10

Result = TypeVar("Result")

log = structlog.get_logger()


def problem_response(error: MmesidError) -> JSONResponse:
    """The error as an RFC 9457 document, with Retry-After where there is one."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(
        error.problem(), status_code=error.status, headers=headers, media_type=PROBLEM_JSON
    )


def problem_responses(*errors: type[MmesidError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems it may answer with, for OpenAPI."""
    return {
        error.status: {
            "description": error.title,
            "model": Problem,
            "content": {PROBLEM_JSON: {}},
        }
        for error in errors
    }


def invalid_input(error: RequestValidationError) -> InvalidInputError:
    """FastAPI's validation errors as ours: the field's path without `body`, and the cause."""
    fields = []
    for row in error.errors():
        place = [str(part) for part in row["loc"] if part not in ("body", "query", "path")]
        cause = str(row.get("ctx", {}).get("error", row["msg"]))
        fields.append(FieldProblem(".".join(place) or "body", cause))
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return InvalidInputError(detail, fields=fields)


def install_problem_handlers(app: FastAPI) -> None:
    """Turn every error into a problem document."""

    @app.exception_handler(MmesidError)
    async def ours(_: Request, error: MmesidError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid_input(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        document = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": str(error.detail),
        }
        return JSONResponse(
            document, status_code=status, headers=error.headers, media_type=PROBLEM_JSON
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", path=request.url.path, exc_info=error)
        return problem_response(MmesidError("An error that was not foreseen; the log says more."))


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client goes away before it is there.

    To be called once the body has been read, when the client's leaving is the only message left.

    Raises:
        AbandonedError: the client went away, and the cancelled work has ended.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
    raise AbandonedError("The client went away before its answer.")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class BodyLimit:
    """ASGI middleware: refuse a body above `max_bytes`, declared or streamed.

    `unlimited_paths` are left alone: routes that read their body as a stream and limit its parts.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, unlimited_paths: frozenset[str]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._unlimited_paths = unlimited_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._unlimited_paths:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await problem_response(self._too_large())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large()
            return message

        async def unless_too_large(message: Message) -> None:
            # Frameworks turn an error while reading a body into an answer of their own.
            if received <= self._max_bytes:
                await send(message)

        with suppress(PayloadTooLargeError):  # answered below
            await self._app(scope, counted, unless_too_large)
        if received > self._max_bytes:
            await problem_response(self._too_large())(scope, receive, send)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"body: larger than {self._max_bytes} bytes",
            fields=[FieldProblem("body", f"larger than {self._max_bytes} bytes")],
        )


def health_routes(ready: Callable[[], Awaitable[dict[str, Any]]]) -> APIRouter:
    """`/health/live`, `/health/ready` and `/metrics`.

    `ready` returns what the service can say of itself, or raises UnavailableError saying why it
    cannot serve.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/health/ready")
    async def is_ready() -> dict[str, Any]:
        return {"status": "ready", **await ready()}

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def serve(app: FastAPI, server: ServerSettings) -> None:
    """Run the app until SIGTERM; logs go through the ones already configured."""
    uvicorn.run(
        app,
        host=server.host,
        port=server.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
