import asyncio
import hashlib
import signal
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from services.training.forgetting import forget_recommendations
from services.training.relay import Relay
from services.training.resend import Resender
from shared.database.bundles import BundleRepository
from shared.database.forgotten_users import ForgottenUserRepository
from shared.database.items import ItemRepository, NewItem
from shared.database.outbox import OutboxRepository
from shared.database.recommendations import GivenRecommendation, RecommendationRepository
from shared.database.tables import ForgottenUserRow, RecommendationRow
from shared.database.training_runs import TrainingRunRepository
from shared.ingestion.item_content import item_content

CATALOG = "shop"


@pytest_asyncio.fixture
async def live_bundle(resources) -> str:
    async with resources.database.transaction() as session:
        bundles = BundleRepository(session, CATALOG)
        encoders = {"text": "text-1", "visual": "image-1"}
        await bundles.add("v1", {"encoders": encoders}, run_id=None)
        await bundles.make_live("v1")
    return "v1"


@pytest.fixture
def add_item(resources):
    async def add(item_id: str) -> None:
        async with resources.database.transaction() as session:
            await ItemRepository(session, CATALOG).insert(
                NewItem(item_id, item_content(title=f"The {item_id}")), relay_after=timedelta(0)
            )

    return add


async def status(resources, item_id: str) -> str:
    async with resources.database.transaction() as session:
        return (await ItemRepository(session, CATALOG).get(item_id)).status


async def waiting(resources) -> int:
    async with resources.database.transaction() as session:
        return await OutboxRepository(session).depth()


async def test_an_item_is_delivered_after_the_embedding_service_was_down(
    resources, live_bundle, add_item, stand_ins
):
    await add_item("mug")
    stand_ins.down.add("embedding")
    relay = Relay(resources)
    assert await relay.deliver() == 1
    async with resources.database.transaction() as session:
        (row,) = await OutboxRepository(session).get(CATALOG, ["mug"])
    assert row.attempts == 1
    assert "embedding is down" in row.last_error
    assert await status(resources, "mug") == "pending"

    stand_ins.down.clear()
    async with asyncio.timeout(10):
        while await waiting(resources):
            await relay.deliver()
    assert await status(resources, "mug") == "ready"
    assert stand_ins.indexed == ["mug"]
    assert stand_ins.rankable == ["mug"]


async def test_an_item_stays_in_the_outbox_until_the_ranking_knows_it(
    resources, live_bundle, add_item, stand_ins
):
    await add_item("mug")
    stand_ins.down.add("ranking")
    relay = Relay(resources)
    await relay.deliver()
    assert await waiting(resources) == 1
    stand_ins.down.clear()
    async with asyncio.timeout(10):
        while await waiting(resources):
            await relay.deliver()
    assert stand_ins.rankable == ["mug"]


async def test_two_relays_at_once_deliver_every_item_once(
    resources, live_bundle, add_item, stand_ins
):
    for number in range(40):
        await add_item(f"item-{number}")
    relays = (Relay(resources), Relay(resources))
    claimed = await asyncio.gather(*(relay.deliver() for relay in relays))
    while await waiting(resources):
        await relays[0].deliver()
    assert all(claimed)
    assert sorted(stand_ins.indexed) == sorted(f"item-{number}" for number in range(40))


async def test_a_deleted_item_leaves_the_outbox(resources, live_bundle, add_item):
    await add_item("mug")
    await Relay(resources).deliver()
    async with resources.database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        row = await items.get("mug", for_update=True)
        await items.delete(row, relay_after=timedelta(0))
    assert await Relay(resources).deliver() == 1
    assert await waiting(resources) == 0


async def test_without_a_live_bundle_items_wait_and_nobody_is_asked(resources, add_item, stand_ins):
    await add_item("mug")
    assert await Relay(resources).deliver() == 0
    assert stand_ins.embedded == []
    assert await waiting(resources) == 1


async def test_a_relay_process_delivers_and_leaves_cleanly_on_sigterm(
    resources, live_bundle, add_item, training_process, eventually
):
    await add_item("mug")
    relay = training_process("relay")

    async def delivered() -> bool:
        return await waiting(resources) == 0

    await eventually(delivered)
    relay.send_signal(signal.SIGTERM)
    assert relay.wait(timeout=30) == 0
    assert await status(resources, "mug") == "ready"


async def test_the_task_of_a_forgotten_run_is_sent_once(resources):
    async with resources.database.transaction() as session:
        run_id = (await TrainingRunRepository(session).add(CATALOG, {})).run_id
    resender = Resender(resources, queued_for=timedelta(seconds=-1))
    other = Resender(resources, queued_for=timedelta(seconds=-1))
    assert await resender.resend() == [run_id]
    assert await resender.resend() == []
    assert await other.resend() == []
    assert await resources.redis.llen("cpu") == 1
    (message,) = await resources.redis.lrange("cpu", 0, -1)
    assert str(run_id).encode() in message


async def test_runs_that_have_an_owner_or_are_fresh_are_left_alone(resources):
    async with resources.database.transaction() as session:
        runs = TrainingRunRepository(session)
        await runs.add(CATALOG, {})
        owned = (await runs.add("other", {})).run_id
        await runs.acquire(owned, lease=timedelta(minutes=1))
    assert await Resender(resources).resend() == []


async def test_lists_given_long_ago_are_forgotten(resources):
    now = datetime.now(UTC)
    async with resources.database.transaction() as session:
        given = RecommendationRepository(session)
        await given.add(
            [
                GivenRecommendation(
                    catalog_id=CATALOG,
                    recommendation_id=f"{days} days",
                    bundle="v1",
                    user_id=None,
                    source="ranker",
                    fallback=None,
                    item_ids=["mug"],
                    latency_ms=1.0,
                    served_at=now - timedelta(days=days),
                )
                for days in (1, 29, 31, 300)
            ]
        )
    assert await forget_recommendations(resources) == 2
    async with resources.database.transaction() as session:
        left = await session.execute(select(RecommendationRow.recommendation_id))
    assert set(left.scalars()) == {"1 days", "29 days"}


async def test_that_users_were_forgotten_is_remembered_as_long_as_lists_are(resources):
    days = resources.settings.gateway.keep_recommendations_days
    async with resources.database.transaction() as session:
        users = ForgottenUserRepository(session)
        for user_id in ("lately", "long ago"):
            await users.add(CATALOG, user_id)
        await session.execute(
            update(ForgottenUserRow)
            .where(ForgottenUserRow.user_sha256 == hashlib.sha256(b"long ago").digest())
            .values(forgotten_at=datetime.now(UTC) - timedelta(days=days, minutes=1))
        )

    await forget_recommendations(resources)

    async with resources.database.transaction() as session:
        known = await ForgottenUserRepository(session).when(
            {(CATALOG, "lately"), (CATALOG, "long ago")}
        )
    assert set(known) == {(CATALOG, "lately")}
