"""What one gateway process holds: connections, and the services made from them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from services.gateway.access import AccessControl
from services.gateway.batch_intake import BatchIntake
from services.gateway.bundle_activation import BundleActivation
from services.gateway.bundle_list import BundleList
from services.gateway.bundle_metrics import BundleMetricsReader
from services.gateway.embedding_backfills import Backfills
from services.gateway.event_batches import EventBatches
from services.gateway.event_recording import EventRecorder
from services.gateway.item_images import ItemImages
from services.gateway.item_intake import ItemIntake
from services.gateway.item_reading import ItemReader
from services.gateway.readiness import Readiness
from services.gateway.recommendation_log import RecommendationLog
from services.gateway.recommending import Recommender
from services.gateway.traffic_control import TrafficControl
from services.gateway.traffic_split import TrafficSplit
from services.gateway.training_estimate import TrainingEstimator
from services.gateway.training_queue import TrainingQueue
from services.gateway.training_runs import TrainingRuns
from services.gateway.training_schedules import TrainingSchedules
from services.gateway.training_watching import TrainingWatcher
from services.gateway.user_histories import UserHistories
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
    access: AccessControl
    intake: ItemIntake
    batches: BatchIntake
    reader: ItemReader
    events: EventRecorder
    event_batches: EventBatches
    users: UserHistories
    recommender: Recommender
    trainings: TrainingRuns
    training_estimator: TrainingEstimator
    training_watcher: TrainingWatcher
    training_schedules: TrainingSchedules
    backfills: Backfills
    bundles: BundleList
    activation: BundleActivation
    traffic: TrafficControl
    metrics: BundleMetricsReader
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
        notices = Notices(settings.redis)
        stack.push_async_callback(notices.close)
        # The proxies of the environment are not for us: addresses are checked and pinned here.
        web = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))

        artifacts = ArtifactStore(settings.artifacts)
        pipeline = ItemPipeline(
            database, artifacts, embedding=embedding, tokenization=tokenization, ranking=ranking
        )
        going_live = GoingLive(
            database, pipeline, notices, tokenization=tokenization, ranking=ranking
        )
        split = TrafficSplit(database)
        given = RecommendationLog(database)
        given.start()
        stack.push_async_callback(given.close)
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
        events = EventRecorder(database)
        trainings = TrainingRuns(database, TrainingQueue(settings), settings.training)
        yield Resources(
            access=AccessControl(database),
            intake=intake,
            batches=BatchIntake(
                intake, pipeline, max_line_bytes=settings.gateway.max_batch_line_bytes
            ),
            reader=reader,
            events=events,
            event_batches=EventBatches(
                events, max_line_bytes=settings.gateway.max_batch_line_bytes
            ),
            users=UserHistories(database),
            recommender=Recommender(
                database,
                ranking,
                split,
                given,
                history_limit=settings.gateway.history_limit,
                positives=settings.events,
            ),
            trainings=trainings,
            training_estimator=TrainingEstimator(database, embedding, settings.events),
            training_watcher=TrainingWatcher(database),
            training_schedules=TrainingSchedules(database, trainings),
            backfills=Backfills(database, embedding, settings.training),
            bundles=BundleList(database),
            activation=BundleActivation(database, going_live),
            traffic=TrafficControl(database, going_live, split),
            metrics=BundleMetricsReader(database),
            readiness=Readiness(database, settings, web),
        )
