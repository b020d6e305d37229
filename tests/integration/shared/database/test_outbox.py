from datetime import timedelta

import pytest

from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.modeling.modality import Modality

CATALOG = "shop"
LEASE = timedelta(minutes=1)


@pytest.fixture
async def live_bundle(rows) -> str:
    await rows.bundle("v1", live=True)
    return "v1"


async def test_two_relays_at_once_claim_different_rows_and_do_not_wait(database, rows, live_bundle):
    await rows.items(*(f"item-{number}" for number in range(6)))
    async with database.transaction() as one, database.transaction() as other:
        first = await OutboxRepository(one).claim(4, lease=LEASE)
        second = await OutboxRepository(other).claim(4, lease=LEASE)
    claimed = [row.item_id for row in [*first, *second]]
    assert (len(first), len(second)) == (4, 2)
    assert len(set(claimed)) == 6


async def test_claimed_rows_are_not_due_again_until_the_claim_runs_out(database, rows, live_bundle):
    await rows.items("mug")
    async with database.transaction() as session:
        (row,) = await OutboxRepository(session).claim(10, lease=timedelta(0))
        assert row.attempts == 1
    async with database.transaction() as session:
        (again,) = await OutboxRepository(session).claim(10, lease=LEASE)
        assert again.attempts == 2
    async with database.transaction() as session:
        assert await OutboxRepository(session).claim(10, lease=LEASE) == []


async def test_rows_of_a_catalogue_without_a_live_bundle_wait(database, rows, live_bundle):
    await rows.items("mug", catalog="new-shop")
    await rows.bundle("v1", catalog="new-shop")
    await rows.items("mug")
    async with database.transaction() as session:
        claimed = await OutboxRepository(session).claim(10, lease=LEASE)
    assert [row.catalog_id for row in claimed] == [CATALOG]


async def test_a_finished_change_does_not_remove_a_newer_one(database, rows, live_bundle):
    await rows.items("mug", "pot")
    await rows.change("mug", title="newer")
    async with database.transaction() as session:
        outbox = OutboxRepository(session)
        await outbox.remove(CATALOG, {"mug": 1, "pot": 1})
        await outbox.postpone(CATALOG, "mug", 1, by=timedelta(hours=1), error="stale")
    async with database.transaction() as session:
        (left,) = await OutboxRepository(session).get(CATALOG, ["mug", "pot"])
    assert (left.item_id, left.item_version, left.last_error) == ("mug", 2, None)


async def test_removal_stays_within_the_catalogue(database, rows):
    await rows.items("mug")
    await rows.items("mug", catalog="rival")
    async with database.transaction() as session:
        await OutboxRepository(session).remove("rival", {"mug": 1})
        assert len(await OutboxRepository(session).get(CATALOG, ["mug"])) == 1


async def test_a_postponed_row_waits_says_why_and_can_be_hastened(database, rows, live_bundle):
    await rows.items("mug")
    async with database.transaction() as session:
        outbox = OutboxRepository(session)
        await outbox.postpone(CATALOG, "mug", 1, by=timedelta(hours=1), error="no embedding")
        assert await outbox.claim(10, lease=LEASE) == []
    async with database.transaction() as session:
        outbox = OutboxRepository(session)
        await outbox.hasten(CATALOG)
        (row,) = await outbox.claim(10, lease=LEASE)
    assert row.last_error == "no embedding"


async def test_a_change_starts_the_attempts_over(database, rows, live_bundle):
    await rows.items("mug")
    async with database.transaction() as session:
        await OutboxRepository(session).claim(10, lease=LEASE)
    await rows.change("mug", title="newer")
    async with database.transaction() as session:
        (row,) = await OutboxRepository(session).claim(10, lease=LEASE)
    assert (row.attempts, row.item_version) == (1, 2)


async def test_items_a_new_bundle_lacks_are_enqueued_once(database, rows):
    await rows.items("known", "changed", "failed", "deleted")
    await rows.items("elsewhere", catalog="rival")
    await rows.bundle("v1")
    await rows.change("changed", title="newer")
    await rows.delete("deleted")
    async with database.transaction() as session:
        outbox = OutboxRepository(session)
        await ItemRepository(session, CATALOG).mark_failed("failed", 1, {"detail": "broken"})
        await outbox.remove(CATALOG, {"known": 1, "changed": 2, "failed": 1, "deleted": 2})
        await SemanticIdRepository(session, CATALOG).put(
            "v1",
            [ItemSemanticIds(name, 1, {Modality.TEXT: [1]}) for name in ("known", "changed")],
        )
        assert await outbox.enqueue_without_semantic_ids(CATALOG, "v1") == 1
        assert await outbox.enqueue_without_semantic_ids(CATALOG, "v1") == 0
        (row,) = await outbox.get(CATALOG, ["known", "changed", "failed", "deleted"])
    assert (row.item_id, row.item_version) == ("changed", 2)
