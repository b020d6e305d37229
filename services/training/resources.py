"""What a training process holds open: the database, the artifact store and the other services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.database.session import Database
from shared.going_live import GoingLive
from shared.ingestion.pipeline import ItemPipeline
from shared.notices import Notices
from shared.settings import Settings


@dataclass(frozen=True)
class Resources:
    settings: Settings
    database: Database
    store: ArtifactStore
    embedding: EmbeddingClient
    tokenization: TokenizationClient
    ranking: RankingClient
    notices: Notices
    redis: Redis
    pipeline: ItemPipeline
    going_live: GoingLive


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Everything is closed at the end of the block."""
    async with AsyncExitStack() as stack:
        database = Database(settings.database)
        stack.push_async_callback(database.close)
        embedding = EmbeddingClient(settings.services)
        stack.push_async_callback(embedding.close)
        tokenization = TokenizationClient(settings.services)
        stack.push_async_callback(tokenization.close)
        ranking = RankingClient(settings.services)
        stack.push_async_callback(ranking.close)
        notices = Notices(settings.redis)
        stack.push_async_callback(notices.close)
        redis: Redis = Redis.from_url(settings.redis.url)
        stack.push_async_callback(redis.aclose)
        store = ArtifactStore(settings.artifacts)
        pipeline = ItemPipeline(
            database, store, embedding=embedding, tokenization=tokenization, ranking=ranking
        )
        going_live = GoingLive(
            database, pipeline, notices, tokenization=tokenization, ranking=ranking
        )
        yield Resources(
            settings,
            database,
            store,
            embedding,
            tokenization,
            ranking,
            notices,
            redis,
            pipeline,
            going_live,
        )
