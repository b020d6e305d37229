"""Around every request: its id in the answer and in every log line, and the metrics."""

import re
import time
from uuid import uuid4

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import MmesidError
from shared.http import problem_response

HEADER = "X-Request-ID"
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})

REQUESTS = Counter("mmesid_gateway_requests", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "mmesid_gateway_request_seconds",
    "From the request's headers to the end of its answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)

log = structlog.get_logger()


class RequestContext:
    """ASGI middleware, the outermost: it also answers what nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(HEADER))
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                log.error("unexpected error", path=scope["path"], exc_info=error)
                if status:
                    raise  # too late for an answer: the server closes the connection
                unforeseen = MmesidError("An error that was not foreseen; the log says more.")
                await problem_response(unforeseen)(scope, receive, send_with_id)
            finally:
                method = scope["method"] if scope["method"] in METHODS else "other"
                route = getattr(scope.get("route"), "path_format", "unmatched")
                REQUESTS.labels(method, route, status).inc()
                SECONDS.labels(method, route).observe(time.perf_counter() - began)


def _request_id(sent: str | None) -> str:
    """The caller's, where it is fit for a log line."""
    return sent if sent is not None and ACCEPTED_ID.fullmatch(sent) else uuid4().hex
