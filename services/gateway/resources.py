"""What one gateway process holds: connections, and the services made from them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from services.gateway.access import AccessControl
from services.gateway.batch_intake import BatchIntake
from services.gateway.bundle_list import BundleList
from services.gateway.event_recording import EventRecorder
from services.gateway.item_images import ItemImages
from services.gateway.item_intake import ItemIntake
from services.gateway.item_reading import ItemReader
from services.gateway.readiness import Readiness
from services.gateway.recommending import Recommender
from services.gateway.training_estimate import TrainingEstimator
from services.gateway.training_queue import TrainingQueue
from services.gateway.training_runs import TrainingRuns
from services.gateway.training_schedules import TrainingSchedules
from services.gateway.training_watching import TrainingWatcher
from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.database.session import Database
from shared.ingestion.pipeline import ItemPipeline
from shared.settings import Settings


@dataclass(frozen=True)
class Resources:
    access: AccessControl
    intake: ItemIntake
    batches: BatchIntake
    reader: ItemReader
    events: EventRecorder
    recommender: Recommender
    trainings: TrainingRuns
    training_estimator: TrainingEstimator
    training_watcher: TrainingWatcher
    training_schedules: TrainingSchedules
    bundles: BundleList
    readiness: Readiness


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Nothing is asked of any server yet, so that the gateway starts whatever else is down."""
    async with AsyncExitStack() as stack:
        database = Database(settings.database)
        stack.push_async_callback(database.close)
        embedding = EmbeddingClient(settings.services)
        stack.push_async_callback(embedding.close)
        tokenization = TokenizationClient(settings.services)
        stack.push_async_callback(tokenization.close)
        ranking = RankingClient(settings.services)
        stack.push_async_callback(ranking.close)
        # The proxies of the environment are not for us: addresses are checked and pinned here.
        web = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))

        artifacts = ArtifactStore(settings.artifacts)
        pipeline = ItemPipeline(
            database, artifacts, embedding=embedding, tokenization=tokenization, ranking=ranking
        )
        reader = ItemReader(database, tokenization)
        intake = ItemIntake(
            database,
            artifacts,
            ItemImages(web, settings.images),
            pipeline,
            reader,
            ready_wait_s=settings.gateway.ready_wait_s,
            relay_grace_s=settings.relay.grace_s,
        )
        trainings = TrainingRuns(database, TrainingQueue(settings), settings.training)
        yield Resources(
            access=AccessControl(database),
            intake=intake,
            batches=BatchIntake(
                intake, pipeline, max_line_bytes=settings.gateway.max_batch_line_bytes
            ),
            reader=reader,
            events=EventRecorder(database),
            recommender=Recommender(
                database, ranking, history_limit=settings.gateway.history_limit
            ),
            trainings=trainings,
            training_estimator=TrainingEstimator(database, embedding),
            training_watcher=TrainingWatcher(database),
            training_schedules=TrainingSchedules(database, trainings),
            bundles=BundleList(database),
            readiness=Readiness(database, settings, web),
        )
