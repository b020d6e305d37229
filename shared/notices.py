"""Live notices over Redis. They only save waiting: whoever misses one asks the database."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.settings import RedisSettings

CHANNEL = "mmesid:bundle-active"

log = structlog.get_logger()


class BundleActive(BaseModel):
    """A bundle of a catalogue went live."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog_id: str
    version: str


class Notices:
    """Publishes and receives notices."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis: Redis = Redis.from_url(settings.url)

    async def publish(self, notice: BundleActive) -> None:
        """Tell everyone; a Redis that is down is logged, since listeners poll as well."""
        try:
            await self._redis.publish(CHANNEL, notice.model_dump_json())
        except RedisError as error:
            log.warning("notice not published", error=str(error), notice=notice.model_dump())

    async def wait(self, *, at_most_s: float) -> AsyncIterator[BundleActive | None]:
        """Endless: a notice when one comes, None when none came for `at_most_s`."""
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    while True:
                        message = await subscription.get_message(
                            ignore_subscribe_messages=True, timeout=at_most_s
                        )
                        yield (
                            None
                            if message is None
                            else BundleActive.model_validate_json(message["data"])
                        )
            except RedisError as error:
                log.warning("no notices for now", error=str(error))
                await asyncio.sleep(at_most_s)
                yield None

    async def close(self) -> None:
        await self._redis.aclose()
