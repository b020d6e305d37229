from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.database.training_runs import TrainingRunRepository
from shared.errors import ConflictError

CATALOG = "shop"
LEASE = timedelta(minutes=1)
NO_LEASE = timedelta(seconds=-1)
STAGES = [{"stage": "snapshot", "done": 1, "total": 1, "metrics": {}}]


async def queued(database, catalog: str = CATALOG):
    async with database.transaction() as session:
        return (await TrainingRunRepository(session).add(catalog, {"go_live": True})).run_id


async def acquire(database, run_id, lease: timedelta = LEASE):
    async with database.transaction() as session:
        return await TrainingRunRepository(session).acquire(run_id, lease=lease)


async def get(database, run_id):
    async with database.transaction() as session:
        return await TrainingRunRepository(session).get(run_id)


async def test_a_run_has_one_owner_at_a_time(database):
    run_id = await queued(database)
    first = await acquire(database, run_id)
    assert (first.state, first.lease_token) == ("running", 1)
    assert first.started_at is not None
    assert await acquire(database, run_id) is None


async def test_a_run_whose_lease_ran_out_gets_a_new_owner_with_a_higher_token(database):
    run_id = await queued(database)
    first = await acquire(database, run_id, NO_LEASE)
    second = await acquire(database, run_id)
    assert (first.lease_token, second.lease_token) == (1, 2)
    assert second.started_at == first.started_at


async def test_a_former_owner_cannot_write(database):
    run_id = await queued(database)
    former = await acquire(database, run_id, NO_LEASE)
    await acquire(database, run_id)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        lost = await runs.heartbeat(run_id, former.lease_token, lease=LEASE, stages=STAGES)
        written = await runs.finish(run_id, former.lease_token, state="failed", stages=STAGES)
        seen = await runs.set_last_interaction(run_id, former.lease_token, 7)
    assert lost is None
    assert not written
    assert not seen
    row = await get(database, run_id)
    assert (row.state, row.stages, row.lease_token) == ("running", [], 2)
    assert row.last_interaction_id is None


async def test_the_owner_stores_which_interactions_the_snapshot_has_seen(database):
    run_id = await queued(database)
    owner = await acquire(database, run_id)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        assert await runs.set_last_interaction(run_id, owner.lease_token, 2**40)
    assert (await get(database, run_id)).last_interaction_id == 2**40


async def test_the_owner_stores_progress_and_the_end(database):
    run_id = await queued(database)
    owner = await acquire(database, run_id)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        assert await runs.heartbeat(run_id, owner.lease_token, lease=LEASE, stages=STAGES) is False
        assert await runs.finish(
            run_id, owner.lease_token, state="succeeded", stages=STAGES, bundle="v1"
        )
    row = await get(database, run_id)
    assert (row.state, row.stages, row.bundle) == ("succeeded", STAGES, "v1")
    assert row.finished_at is not None
    assert await acquire(database, run_id) is None


async def test_a_heartbeat_says_that_the_run_should_be_cancelled(database):
    run_id = await queued(database)
    owner = await acquire(database, run_id)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        await runs.request_cancel(await runs.get(run_id))
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        assert await runs.heartbeat(run_id, owner.lease_token, lease=LEASE, stages=[]) is True
    assert (await get(database, run_id)).state == "running"


async def test_a_queued_run_is_cancelled_at_once(database):
    run_id = await queued(database)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        await runs.request_cancel(await runs.get(run_id))
    row = await get(database, run_id)
    assert row.state == "cancelled"
    assert row.finished_at is not None
    assert await acquire(database, run_id) is None


async def test_a_run_taken_up_since_it_was_read_is_not_cancelled_behind_its_owners_back(database):
    run_id = await queued(database)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        read_as_queued = await runs.get(run_id)
        await acquire(database, run_id)
        await runs.request_cancel(read_as_queued)
    row = await get(database, run_id)
    assert (row.state, row.cancel_requested) == ("running", True)


async def test_a_finished_run_stays_as_it_ended_when_cancelled(database):
    run_id = await queued(database)
    owner = await acquire(database, run_id)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        await runs.finish(run_id, owner.lease_token, state="succeeded", stages=[])
        await runs.request_cancel(await runs.get(run_id))
    row = await get(database, run_id)
    assert (row.state, row.cancel_requested) == ("succeeded", False)


async def test_forgotten_runs_are_those_queued_for_long_and_those_whose_owner_is_gone(database):
    fresh = await queued(database, "fresh")
    forgotten = await queued(database, "forgotten")
    abandoned = await queued(database, "abandoned")
    owned = await queued(database, "owned")
    await acquire(database, abandoned, NO_LEASE)
    await acquire(database, owned)
    async with database.transaction() as session:
        await session.execute(
            text(
                "UPDATE training_runs SET created_at = now() - interval '1 hour' WHERE run_id = :r"
            ),
            {"r": forgotten},
        )
        runs = TrainingRunRepository(session)
        assert await runs.waiting(longer_than=timedelta(minutes=1)) == [forgotten]
        assert await runs.abandoned() == [abandoned]
        assert fresh in await runs.waiting(longer_than=timedelta(seconds=-1))


async def test_a_second_unfinished_run_of_a_catalogue_is_refused_by_name(database):
    first = await queued(database)

    with pytest.raises(ConflictError, match=f"{first} is queued"):
        await queued(database)

    owner = await acquire(database, first)
    async with database.transaction() as session:
        await TrainingRunRepository(session).finish(
            first, owner.lease_token, state="cancelled", stages=[]
        )
    assert await queued(database) != first


async def test_runs_are_found_by_catalogue(database):
    ours = await queued(database)
    theirs = await queued(database, "rival")
    owner = await acquire(database, theirs)
    async with database.transaction() as session:
        runs = TrainingRunRepository(session)
        await runs.finish(theirs, owner.lease_token, state="failed", stages=[])
        assert [row.run_id for row in await runs.newest(CATALOG, limit=5)] == [ours]
        assert await runs.finished(CATALOG) == []
        assert [row.run_id for row in await runs.finished("rival")] == [theirs]
