"""Whether the gateway can serve, and what it sees of the services behind it."""

import asyncio
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from shared.database.session import Database
from shared.errors import UnavailableError
from shared.settings import Settings

PROBE_TIMEOUT_S = 1.0


class Readiness:
    """Only the database is indispensable: without the others, items are accepted all the same."""

    def __init__(self, database: Database, settings: Settings, client: httpx.AsyncClient) -> None:
        self._database = database
        self._redis_url = settings.redis.url
        self._services = {
            "embedding": settings.services.embedding,
            "tokenization": settings.services.tokenization,
            "ranking": settings.services.ranking,
        }
        self._client = client

    async def check(self) -> dict[str, Any]:
        """The state of everything behind the gateway.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            async with self._database.engine.connect():
                pass
        except (SQLAlchemyError, OSError) as error:
            raise UnavailableError(
                f"The database does not answer: {type(error).__name__}", retry_after_s=2
            ) from error
        names = [*self._services, "redis"]
        states = await asyncio.gather(
            *(self._service(url) for url in self._services.values()), self._redis()
        )
        return {"database": "ready", **dict(zip(names, states, strict=True))}

    async def _service(self, base_url: str) -> str:
        try:
            answer = await self._client.get(f"{base_url}/health/ready", timeout=PROBE_TIMEOUT_S)
        except httpx.HTTPError as error:
            return f"unreachable: {type(error).__name__}"
        return "ready" if answer.is_success else f"not ready: {answer.status_code}"

    async def _redis(self) -> str:
        redis: Redis = Redis.from_url(
            self._redis_url,
            socket_connect_timeout=PROBE_TIMEOUT_S,
            socket_timeout=PROBE_TIMEOUT_S,
        )
        async with redis:
            try:
                await redis.ping()
            except RedisError as error:
                return f"unreachable: {type(error).__name__}"
        return "ready"
