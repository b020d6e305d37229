"""Embedding backfills, with workers and the relay as processes where those matter."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from services.training import backfill
from services.training.backfill import embed_next_chunk
from services.training.backfill_sending import MOST_IN_THE_QUEUE, BackfillSender
from services.training.relay import Relay
from services.training.run import run_training
from shared.database.bundles import BundleRepository
from shared.database.embedding_backfills import EmbeddingBackfillRepository
from shared.database.embeddings import EmbeddingRepository
from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.tables import EmbeddingBackfillChunkRow
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from tests.integration.services.training.test_run import CountedStages

pytestmark = pytest.mark.integration

CATALOG = "shop"
ITEMS = 40
CHUNK = 8
BATCH = 4
CHUNKS = ITEMS // CHUNK


@pytest.fixture
def settings(settings):
    """Chunks of two batches, and a short lease, so that a dead owner is replaced soon."""
    changes = {"lease_s": 2.0, "embed_batch": BATCH, "backfill_chunk": CHUNK}
    return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})


class Backfills:
    """The backfills of the shop, as they are in the database."""

    def __init__(self, resources, settings) -> None:
        self._resources = resources
        self._settings = settings

    async def start(self) -> UUID:
        revisions = await self._resources.embedding.revisions()
        async with self._resources.database.transaction() as session:
            backfills = EmbeddingBackfillRepository(session)
            return (await backfills.add(CATALOG, revisions, chunk=CHUNK)).backfill_id

    async def work_off(self, backfill_id: UUID) -> None:
        """As one worker does, as long as there are chunks to take."""
        while await embed_next_chunk(backfill_id, self._settings):
            pass

    async def state(self, backfill_id: UUID) -> str:
        async with self._resources.database.transaction() as session:
            return (await EmbeddingBackfillRepository(session).get(backfill_id)).state

    async def progress(self, backfill_id: UUID):
        async with self._resources.database.transaction() as session:
            found = await EmbeddingBackfillRepository(session).progress([backfill_id])
        return found[backfill_id]

    async def first_chunk(self, backfill_id: UUID) -> EmbeddingBackfillChunkRow:
        async with self._resources.database.transaction() as session:
            return await session.get(EmbeddingBackfillChunkRow, (backfill_id, 0))

    async def cancel(self, backfill_id: UUID) -> None:
        async with self._resources.database.transaction() as session:
            backfills = EmbeddingBackfillRepository(session)
            assert await backfills.cancel(await backfills.get(backfill_id))


@pytest.fixture
def backfills(resources, settings) -> Backfills:
    return Backfills(resources, settings)


@pytest.fixture
def has_succeeded(backfills, eventually):
    async def wait(backfill_id: UUID) -> None:
        async def is_over() -> bool:
            return await backfills.state(backfill_id) == "succeeded"

        await eventually(is_over)

    return wait


async def test_two_workers_share_the_chunks_and_no_item_is_embedded_twice(
    shop_without_images, backfills, stand_ins, training_process, eventually, has_succeeded
):
    stand_ins.held_after = 0
    backfill_id = await backfills.start()
    training_process("relay")
    for _ in range(2):
        training_process("worker", "--queues", "cpu")

    async def both_are_at_work() -> bool:
        return (await backfills.progress(backfill_id)).chunks_running == 2

    await eventually(both_are_at_work)
    stand_ins.released.set()
    await has_succeeded(backfill_id)

    assert len(stand_ins.embedded) == len(set(stand_ins.embedded)) == ITEMS
    progress = await backfills.progress(backfill_id)
    assert (progress.items, progress.done, progress.embedded, progress.failed) == (40, 40, 40, 0)
    assert (progress.chunks_waiting, progress.chunks_running, progress.chunks_done) == (0, 0, 5)
    assert progress.items_per_second > 0


async def test_a_chunk_whose_worker_is_killed_is_finished_by_another(
    shop_without_images, backfills, stand_ins, training_process, crash, eventually, has_succeeded
):
    stand_ins.held_after = BATCH
    backfill_id = await backfills.start()
    training_process("relay")
    worker = training_process("worker", "--queues", "cpu")

    async def is_in_the_middle() -> bool:
        return (await backfills.first_chunk(backfill_id)).embedded == BATCH

    await eventually(is_in_the_middle)
    crash(worker)
    stand_ins.released.set()
    assert (await backfills.first_chunk(backfill_id)).state == "running"
    training_process("worker", "--queues", "cpu")
    await has_succeeded(backfill_id)

    assert (await backfills.first_chunk(backfill_id)).lease_token >= 2
    assert len(stand_ins.embedded) == len(set(stand_ins.embedded)) == ITEMS
    assert (await backfills.progress(backfill_id)).embedded == ITEMS


async def test_a_cancelled_backfill_stops_within_a_chunk_and_keeps_what_was_stored(
    shop_without_images, backfills, settings, stand_ins, eventually
):
    stand_ins.held_after = BATCH
    backfill_id = await backfills.start()
    work = asyncio.create_task(embed_next_chunk(backfill_id, settings))

    async def is_in_the_middle() -> bool:
        return (await backfills.first_chunk(backfill_id)).embedded == BATCH

    await eventually(is_in_the_middle)
    await backfills.cancel(backfill_id)
    before = (await backfills.first_chunk(backfill_id)).lease_expires_at

    async def its_owner_has_heard_of_it() -> bool:
        return (await backfills.first_chunk(backfill_id)).lease_expires_at > before

    await eventually(its_owner_has_heard_of_it)
    stand_ins.released.set()
    assert await work is False
    await backfills.work_off(backfill_id)
    assert len(stand_ins.embedded) == BATCH
    assert (await backfills.progress(backfill_id)).chunks_waiting == CHUNKS

    again = await backfills.start()
    await backfills.work_off(again)
    assert await backfills.state(again) == "succeeded"
    assert await backfills.state(backfill_id) == "cancelled"
    assert len(stand_ins.embedded) == len(set(stand_ins.embedded)) == ITEMS
    assert (await backfills.progress(again)).embedded == ITEMS - BATCH


async def test_chunks_wait_while_the_embedding_service_is_away_or_runs_other_encoders(
    shop_without_images, backfills, settings, stand_ins, monkeypatch
):
    monkeypatch.setattr(backfill, "PATIENCE_S", 0.0)
    backfill_id = await backfills.start()

    stand_ins.down.add("embedding")
    assert await embed_next_chunk(backfill_id, settings) is False
    stand_ins.down.clear()
    stand_ins.text_revision = "text-2"
    assert await embed_next_chunk(backfill_id, settings) is False

    progress = await backfills.progress(backfill_id)
    assert (progress.chunks_waiting, progress.embedded, progress.failed) == (CHUNKS, 0, 0)
    stand_ins.text_revision = "text-1"
    await backfills.work_off(backfill_id)
    assert await backfills.state(backfill_id) == "succeeded"


async def test_an_item_that_cannot_be_embedded_counts_as_failed_and_stops_nothing(
    shop, backfills, resources
):
    backfill_id = await backfills.start()
    await backfills.work_off(backfill_id)

    assert await backfills.state(backfill_id) == "succeeded"
    progress = await backfills.progress(backfill_id)
    assert (progress.done, progress.embedded, progress.failed) == (ITEMS, ITEMS - 1, 1)
    revisions = await resources.embedding.revisions()
    async with resources.database.transaction() as session:
        stored = await EmbeddingRepository(session, CATALOG).of_items(
            ["item-1", "item-2", "item-3"], revisions
        )
    assert stored["item-1"].keys() == stored["item-2"].keys() == {Modality.TEXT}
    assert stored["item-3"].keys() == {Modality.TEXT, Modality.VISUAL}


async def test_after_a_backfill_a_training_run_embeds_nothing_again(
    shop_without_images, backfills, settings, stand_ins, monkeypatch
):
    await backfills.work_off(await backfills.start())
    assert len(stand_ins.embedded) == ITEMS

    async def enough(context) -> None:
        raise InvalidInputError.of("collaborative", "not wanted here")

    CountedStages(monkeypatch).before["collaborative"] = enough
    run_id = await shop_without_images.queue_run()
    await run_training(run_id, settings)

    embed = (await shop_without_images.training(run_id)).stages[1]
    assert (embed["stage"], embed["metrics"]["already_stored"]) == ("embed", float(ITEMS))
    assert len(stand_ins.embedded) == ITEMS


@pytest_asyncio.fixture
async def live_bundle(resources) -> None:
    async with resources.database.transaction() as session:
        bundles = BundleRepository(session, CATALOG)
        await bundles.add("v1", {"encoders": {"text": "text-1", "visual": "image-1"}}, run_id=None)
        await bundles.make_live("v1")


async def test_items_are_served_by_the_live_bundles_vectors_beside_those_of_a_new_encoder(
    shop_without_images, live_bundle, backfills, resources, stand_ins
):
    await backfills.work_off(await backfills.start())
    stand_ins.text_revision = "text-2"
    await backfills.work_off(await backfills.start())
    assert len(stand_ins.embedded) == 2 * ITEMS

    relay = Relay(resources)
    while await relay.deliver():
        pass

    assert len(stand_ins.embedded) == 2 * ITEMS
    assert len(stand_ins.indexed) == len(stand_ins.rankable) == ITEMS
    tokenized = [item.vectors for request in stand_ins.tokenized for item in request.items]
    assert {len(vectors[Modality.TEXT]) for vectors in tokenized} == {12}
    async with resources.database.transaction() as session:
        assert await OutboxRepository(session).depth() == 0
        ready = await ItemRepository(session, CATALOG).page(limit=100, status="ready")
        embeddings = EmbeddingRepository(session, CATALOG)
        both = [
            await embeddings.of_items(["item-7"], {Modality.TEXT: revision})
            for revision in ("text-1", "text-2")
        ]
    assert len(ready) == ITEMS
    assert [len(found["item-7"][Modality.TEXT]) for found in both] == [12, 14]


async def test_the_relay_sends_for_chunks_without_an_owner_and_fills_no_queue(
    shop_without_images, backfills, resources
):
    backfill_id = await backfills.start()
    sender = BackfillSender(resources)
    assert await sender.send() == MOST_IN_THE_QUEUE
    assert await BackfillSender(resources).send() == 0
    assert await resources.redis.llen("cpu") == MOST_IN_THE_QUEUE
    (first, *_) = await resources.redis.lrange("cpu", 0, -1)
    assert str(backfill_id).encode() in first

    await resources.redis.flushdb()
    await resources.redis.rpush("cpu", *["of a training run"] * (MOST_IN_THE_QUEUE - 1))
    assert await sender.send() == 1
    await resources.redis.delete(f"mmesid:backfill-sent:{backfill_id}")
    assert await sender.send() == 0


async def test_the_relay_sends_nothing_for_chunks_that_are_worked_on_or_cancelled(
    shop_without_images, backfills, resources
):
    backfill_id = await backfills.start()
    async with resources.database.transaction() as session:
        for _ in range(CHUNKS):
            claimed = await EmbeddingBackfillRepository(session).claim(
                backfill_id, lease=timedelta(minutes=1)
            )
            assert claimed is not None
    assert await BackfillSender(resources).send() == 0
    await backfills.cancel(backfill_id)
    async with resources.database.transaction() as session:
        await EmbeddingBackfillRepository(session).give_back(claimed)
    assert await BackfillSender(resources).send() == 0
