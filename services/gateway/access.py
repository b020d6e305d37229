"""Who calls: the API key decides the catalogue and what may be done in it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.database.api_keys import ApiKeyRepository, Scope, sha256_of
from shared.database.session import Database
from shared.errors import ForbiddenError, UnauthenticatedError

KEY_PREFIX = "mme_"
KNOWN_FOR_S = 5.0  # so long a revoked key may still be accepted
MAX_KNOWN = 10_000

bearer = HTTPBearer(
    auto_error=False, bearerFormat="mme_…", description="An API key: `Authorization: Bearer mme_…`"
)


@dataclass(frozen=True)
class Caller:
    """The catalogue that a key opens, and its scopes there."""

    catalog_id: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raises ForbiddenError where the key lacks the scope; `admin` implies the others."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise ForbiddenError(f"This key lacks the scope {scope.value!r}")


class AccessControl:
    """Looks keys up, and remembers those found for a few seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Caller]] = {}

    async def caller(self, key: str | None) -> Caller:
        """Raises UnauthenticatedError where there is no key, or an unknown or revoked one."""
        if key is None:
            raise UnauthenticatedError("Send an API key: Authorization: Bearer mme_…")
        digest = sha256_of(key)
        until, known = self._known.get(digest, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        caller = await self._look_up(key)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[digest] = (time.monotonic() + KNOWN_FOR_S, caller)
        return caller

    async def _look_up(self, key: str) -> Caller:
        row = None
        if key.startswith(KEY_PREFIX):
            async with self._database.transaction() as session:
                row = await ApiKeyRepository(session).find(key)
        if row is None:
            raise UnauthenticatedError("The API key is not known")
        return Caller(row.catalog_id, frozenset(map(Scope, row.scopes)))


def caller_with(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """The dependency of a route that needs a scope."""

    async def authorize(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Caller:
        access: AccessControl = request.app.state.resources.access
        caller = await access.caller(None if credentials is None else credentials.credentials)
        structlog.contextvars.bind_contextvars(catalog_id=caller.catalog_id)
        caller.require(scope)
        return caller

    return authorize


Reader = Annotated[Caller, Depends(caller_with(Scope.READ))]
Writer = Annotated[Caller, Depends(caller_with(Scope.WRITE))]
Admin = Annotated[Caller, Depends(caller_with(Scope.ADMIN))]
