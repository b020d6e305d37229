"""The steps of going live, against Postgres, Valkey and stand-ins for the services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import pytest

from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.contracts.common import BundleReference
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository, NewItem
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import SemanticIdRepository
from shared.database.session import Database
from shared.database.traffic import TrafficRepository
from shared.errors import ConflictError, UnavailableError
from shared.going_live import GoingLive
from shared.ingestion.item_content import item_content
from shared.ingestion.pipeline import ItemPipeline
from shared.notices import Notices

OLD, NEW = "20260101T000000-test", "20260102T000000-next"
BUNDLE = BundleReference(catalog_id="shop", version=NEW)

pytestmark = pytest.mark.integration


async def agreed(session) -> None:
    """Nothing speaks against it."""


@dataclass
class Shop:
    """A catalogue whose live bundle is OLD, and NEW that is published."""

    database: Database
    going_live: GoingLive

    async def add_item(self, item_id: str) -> None:
        async with self.database.transaction() as session:
            await ItemRepository(session, "shop").insert(
                NewItem(item_id, item_content(title=item_id)), relay_after=timedelta(minutes=1)
            )

    async def states(self) -> dict[str, str]:
        async with self.database.transaction() as session:
            return {row.version: row.state for row in await BundleRepository(session, "shop").all()}

    async def has_semantic_ids(self, item_id: str) -> bool:
        async with self.database.transaction() as session:
            return item_id in await SemanticIdRepository(session, "shop").of_items(NEW, [item_id])

    async def due(self) -> set[str]:
        """The items of the outbox that a relay would take now."""
        async with self.database.transaction() as session:
            rows = await OutboxRepository(session).claim(100, lease=timedelta(seconds=0))
        return {row.item_id for row in rows}


@pytest.fixture
async def shop(make_settings, stand_ins) -> AsyncIterator[Shop]:
    settings = make_settings(services={**stand_ins.urls, "timeout_s": 5.0})
    async with AsyncExitStack() as stack:
        database = Database(settings.database)
        notices = Notices(settings.redis)
        clients = {
            "embedding": EmbeddingClient(settings.services),
            "tokenization": TokenizationClient(settings.services),
            "ranking": RankingClient(settings.services),
        }
        for each in (database, notices, *clients.values()):
            stack.push_async_callback(each.close)
        pipeline = ItemPipeline(database, ArtifactStore(settings.artifacts), **clients)
        del clients["embedding"]
        async with database.transaction() as session:
            bundles = BundleRepository(session, "shop")
            for version in (OLD, NEW):
                await bundles.add(version, {"encoders": {"text": "text-encoder@1"}}, run_id=None)
            await bundles.make_live(OLD)
        yield Shop(database, GoingLive(database, pipeline, notices, **clients))


@pytest.mark.parametrize("finished", range(5))
async def test_who_is_killed_after_any_step_leaves_one_live_bundle_and_it_can_be_done_again(
    shop, stand_ins, finished
):
    await shop.add_item("mug")
    steps = (
        lambda: shop.going_live.load(BUNDLE),
        lambda: shop.going_live.catch_up(BUNDLE),
        lambda: shop.going_live.go_live(BUNDLE, confirm=agreed, made_from={}),
        lambda: shop.going_live.tell(BUNDLE),
    )
    for step in steps[:finished]:
        await step()
    is_live = finished >= 3
    assert await shop.states() == {
        NEW: "live" if is_live else "published",
        OLD: "retired" if is_live else "live",
    }

    for step in steps:
        await step()

    assert await shop.states() == {NEW: "live", OLD: "retired"}
    for service in (stand_ins.tokenization, stand_ins.ranking):
        assert (NEW in service.loaded, service.active) == (True, {"shop": NEW})
    assert await shop.has_semantic_ids("mug")


async def test_items_that_cannot_be_caught_up_are_due_once_the_bundle_is_live(shop, stand_ins):
    await shop.add_item("mug")
    stand_ins.embedding.is_down = True
    await shop.going_live.catch_up(BUNDLE)
    assert not await shop.has_semantic_ids("mug")
    assert await shop.due() == set()

    await shop.going_live.go_live(BUNDLE, confirm=agreed, made_from={})

    assert await shop.due() == {"mug"}


async def test_items_that_the_bundle_was_made_from_are_ready_with_it(shop):
    await shop.add_item("mug")
    await shop.add_item("teapot")

    await shop.going_live.go_live(BUNDLE, confirm=agreed, made_from={"mug": 1, "teapot": 0})

    async with shop.database.transaction() as session:
        items = await ItemRepository(session, "shop").get_many(["mug", "teapot"])
    assert {row.item_id: row.status for row in items.values()} == {
        "mug": "ready",
        "teapot": "pending",
    }


async def test_an_objection_leaves_everything_as_it_was(shop):
    async def objected(session):
        raise ConflictError("not now")

    with pytest.raises(ConflictError, match="not now"):
        await shop.going_live.go_live(BUNDLE, confirm=objected, made_from={})

    assert await shop.states() == {NEW: "published", OLD: "live"}


async def test_a_share_of_the_traffic_ends_as_the_bundle_goes_live(shop):
    async with shop.database.transaction() as session:
        await TrafficRepository(session, "shop").replace({NEW: 10.0})

    await shop.going_live.go_live(BUNDLE, confirm=agreed, made_from={})

    async with shop.database.transaction() as session:
        assert await TrafficRepository(session, "shop").shares() == {}


async def test_a_service_that_is_away_fails_the_loading_but_not_the_telling(shop, stand_ins):
    stand_ins.ranking.is_down = True

    with pytest.raises(UnavailableError):
        await shop.going_live.load(BUNDLE)
    await shop.going_live.tell(BUNDLE)

    assert stand_ins.tokenization.active == {"shop": NEW}
