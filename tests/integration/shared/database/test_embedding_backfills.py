import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from shared.database.embedding_backfills import BackfillProgress, EmbeddingBackfillRepository
from shared.database.items import ItemRepository
from shared.database.tables import EmbeddingBackfillChunkRow
from shared.errors import ConflictError
from shared.modeling.modality import Modality

CATALOG = "shop"
REVISIONS = {Modality.TEXT: "text-1", Modality.VISUAL: "image-1"}
LEASE = timedelta(minutes=1)
EXPIRED = timedelta(seconds=-1)


@pytest.fixture
def start(database):
    async def add(*, chunk: int = 2, catalog: str = CATALOG):
        async with database.transaction() as session:
            return await EmbeddingBackfillRepository(session).add(catalog, REVISIONS, chunk=chunk)

    return add


@pytest.fixture
def claim(database):
    async def take(backfill, *, lease: timedelta = LEASE):
        async with database.transaction() as session:
            return await EmbeddingBackfillRepository(session).claim(
                backfill.backfill_id, lease=lease
            )

    return take


@pytest.fixture
def finish(database):
    async def end(owned, *, failed: int = 0) -> bool:
        async with database.transaction() as session:
            return await EmbeddingBackfillRepository(session).finish(owned, failed=failed)

    return end


async def state(database, backfill) -> str:
    async with database.transaction() as session:
        return (await EmbeddingBackfillRepository(session).get(backfill.backfill_id)).state


async def progress(database, backfill) -> BackfillProgress:
    async with database.transaction() as session:
        found = await EmbeddingBackfillRepository(session).progress([backfill.backfill_id])
    return found[backfill.backfill_id]


async def test_a_catalogue_is_cut_by_the_order_of_arrival_without_deleted_and_failed_items(
    database, rows, start
):
    stored = await rows.items("a", "b", "c", "d", "e", "f")
    await rows.items("g", catalog="other")
    ordinal = {row.item_id: row.ordinal for row in stored}
    await rows.delete("b")
    async with database.transaction() as session:
        assert await ItemRepository(session, CATALOG).mark_failed("d", 1, {"title": "broken"})

    backfill = await start(chunk=3)

    assert backfill.state == "running"
    assert backfill.revisions == {"text": "text-1", "visual": "image-1"}
    async with database.transaction() as session:
        chunks = list(
            (
                await session.execute(
                    select(EmbeddingBackfillChunkRow).order_by(EmbeddingBackfillChunkRow.number)
                )
            ).scalars()
        )
    assert [(chunk.number, chunk.items) for chunk in chunks] == [(0, 3), (1, 1)]
    assert [(chunk.first_ordinal, chunk.last_ordinal) for chunk in chunks] == [
        (ordinal["a"], ordinal["e"]),
        (ordinal["f"], ordinal["f"]),
    ]


async def test_a_catalogue_has_one_unfinished_backfill(database, rows, start):
    await rows.items("a")
    await rows.items("a", catalog="other")
    first = await start()
    with pytest.raises(ConflictError, match=str(first.backfill_id)):
        await start()
    await start(catalog="other")
    async with database.transaction() as session:
        backfills = EmbeddingBackfillRepository(session)
        row = await backfills.get(first.backfill_id)
        assert await backfills.cancel(row)
        assert not await backfills.cancel(row)
    await start()


async def test_a_backfill_of_no_items_is_over_at_once(start):
    backfill = await start()
    assert (backfill.state, backfill.finished_at is None) == ("succeeded", False)


async def test_two_who_claim_at_once_get_different_chunks(database, rows, start):
    await rows.items("a", "b", "c")
    backfill = await start()
    async with database.transaction() as one, database.transaction() as another:
        claimed = [
            await EmbeddingBackfillRepository(session).claim(backfill.backfill_id, lease=LEASE)
            for session in (one, another, one)
        ]
    assert [chunk and chunk.number for chunk in claimed] == [0, 1, None]
    assert claimed[0].revisions == REVISIONS


async def test_a_chunk_of_an_owner_whose_lease_is_over_is_claimed_again_and_the_former_is_refused(
    database, rows, start, claim, finish
):
    await rows.items("a", "b")
    backfill = await start()
    former = await claim(backfill, lease=EXPIRED)
    async with database.transaction() as session:
        assert await EmbeddingBackfillRepository(session).count_embedded(former, 1)
    owner = await claim(backfill)
    assert owner.token == former.token + 1

    async with database.transaction() as session:
        backfills = EmbeddingBackfillRepository(session)
        assert await backfills.heartbeat(former, lease=LEASE) is None
        assert not await backfills.count_embedded(former, 1)
        assert not await backfills.give_back(former)
        assert await backfills.heartbeat(owner, lease=LEASE) is False
        assert await backfills.count_embedded(owner, 1)
    assert not await finish(former)
    assert await state(database, backfill) == "running"
    assert await finish(owner)
    assert await state(database, backfill) == "succeeded"
    assert (await progress(database, backfill)).embedded == 2


async def test_an_owner_hears_that_the_backfill_was_cancelled_and_nobody_takes_its_chunk(
    database, rows, start, claim
):
    await rows.items("a", "b", "c")
    backfill = await start()
    owned = await claim(backfill)
    async with database.transaction() as session:
        backfills = EmbeddingBackfillRepository(session)
        await backfills.cancel(await backfills.get(backfill.backfill_id))
        assert await backfills.heartbeat(owned, lease=LEASE) is True
        assert await backfills.give_back(owned)
        assert await backfills.without_owner() == {}
    assert await claim(backfill) is None


async def test_the_last_of_two_owners_who_end_at_once_closes_the_backfill(
    database, rows, start, claim, finish
):
    await rows.items("a", "b", "c")
    backfill = await start()
    one, another = await claim(backfill), await claim(backfill)

    async def somebody_waits() -> bool:
        async with database.transaction() as session:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return (await session.execute(waiting)).scalar_one() > 0

    async with database.transaction() as session:
        assert await EmbeddingBackfillRepository(session).finish(one, failed=0)
        other_end = asyncio.create_task(finish(another))
        async with asyncio.timeout(60):
            while not (other_end.done() or await somebody_waits()):
                await asyncio.sleep(0.01)
    assert await other_end
    assert await state(database, backfill) == "succeeded"


async def test_the_speed_is_that_of_all_owners_together(database, rows, start, claim, finish):
    await rows.items(*(f"item-{n}" for n in range(7)))
    backfill = await start(chunk=3)
    assert (await progress(database, backfill)).items_per_second is None
    claimed = [await claim(backfill) for _ in range(2)]
    for owned in claimed:
        await finish(owned, failed=1)
    async with database.transaction() as session:
        await session.execute(
            text(
                "UPDATE embedding_backfill_chunks SET"
                " started_at = '2026-01-01T00:00:00Z'::timestamptz + number * interval '1 second',"
                " finished_at = '2026-01-01T00:00:02Z'::timestamptz + number * interval '1 second'"
                " WHERE state = 'done'"
            )
        )
    assert await progress(database, backfill) == BackfillProgress(
        items=7,
        done=6,
        embedded=0,
        failed=2,
        chunks_waiting=1,
        chunks_running=0,
        chunks_done=2,
        items_per_second=2.0,
    )
