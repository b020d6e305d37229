from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from services.training.scheduling import PAUSE_AFTER_FAILURE, Scheduler
from shared.cron import next_time
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.tables import InteractionRow
from shared.database.training_runs import TrainingRunRepository
from shared.database.training_schedules import TrainingScheduleRepository

CATALOG = "shop"
REQUEST = {"go_live": False}
DAILY = "0 3 * * *"
MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(MONDAY)


@pytest.fixture
def scheduler(resources, clock) -> Scheduler:
    return Scheduler(resources, now=clock)


@pytest.fixture
def schedule(resources):
    async def put(*, cron=None, new_interactions=None, catalog=CATALOG) -> None:
        async with resources.database.transaction() as session:
            await TrainingScheduleRepository(session).put(
                catalog,
                cron=cron,
                new_interactions=new_interactions,
                request=REQUEST,
                next_run_at=None if cron is None else next_time(cron, MONDAY),
            )

    return put


@pytest.fixture
def shown(resources):
    async def newest():
        async with resources.database.transaction() as session:
            (row,) = await TrainingRunRepository(session).newest(CATALOG, limit=1)
            return row

    return newest


@pytest.fixture
def end(resources):
    async def finish(run_id, state="succeeded", *, last_interaction_id=None) -> None:
        async with resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            owned = await runs.acquire(run_id, lease=timedelta(minutes=1))
            await runs.finish(run_id, owned.lease_token, state=state, stages=[])
            row = await runs.get(run_id)
            row.last_interaction_id = last_interaction_id

    return finish


@pytest.fixture
def interactions(resources):
    async def add(count: int, catalog=CATALOG) -> int:
        """Returns the id of the last one."""
        async with resources.database.transaction() as session:
            await InteractionRepository(session, catalog).add(
                [NewInteraction("user", "item", "view", MONDAY) for _ in range(count)]
            )
            return (await session.execute(select(func.max(InteractionRow.id)))).scalar_one()

    return add


async def test_a_run_starts_at_its_time_and_the_next_time_is_set(
    resources, scheduler, clock, schedule, shown
):
    await schedule(cron=DAILY)
    assert await scheduler.start_due() == []

    clock.now = MONDAY + timedelta(hours=1)
    started = await scheduler.start_due()

    run = await shown()
    assert [run.run_id] == started
    assert (run.state, run.trigger, run.request) == ("queued", "schedule", REQUEST)
    async with resources.database.transaction() as session:
        row = await TrainingScheduleRepository(session).get(CATALOG)
    assert row.next_run_at == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert await scheduler.start_due() == []


async def test_after_a_week_without_a_relay_one_run_is_started(
    scheduler, clock, schedule, shown, end
):
    await schedule(cron=DAILY)
    clock.now = MONDAY + timedelta(days=7)

    assert len(await scheduler.start_due()) == 1
    await end((await shown()).run_id)
    assert await scheduler.start_due() == []


async def test_what_is_due_waits_for_the_end_of_the_run_that_is_under_way(
    resources, scheduler, clock, schedule, shown, end
):
    await schedule(cron=DAILY)
    async with resources.database.transaction() as session:
        by_hand = await TrainingRunRepository(session).add(CATALOG, {})
    clock.now = MONDAY + timedelta(hours=1)
    assert await scheduler.start_due() == []

    await end(by_hand.run_id)
    clock.now = MONDAY + timedelta(hours=5)
    assert len(await scheduler.start_due()) == 1
    assert (await shown()).trigger == "schedule"


async def test_a_schedule_that_another_relay_looks_at_is_left_to_it(
    resources, scheduler, clock, schedule
):
    await schedule(cron=DAILY)
    clock.now = MONDAY + timedelta(hours=1)
    async with resources.database.transaction() as session:
        assert await TrainingScheduleRepository(session).take(CATALOG) is not None
        assert await scheduler.start_due() == []
    assert len(await scheduler.start_due()) == 1


async def test_enough_new_interactions_start_a_run(scheduler, schedule, shown, end, interactions):
    await schedule(new_interactions=3)
    await interactions(100, catalog="rival")
    await interactions(2)
    assert await scheduler.start_due() == []
    last = await interactions(1)

    assert len(await scheduler.start_due()) == 1
    run = await shown()
    assert run.trigger == "volume"
    await interactions(3)
    assert await scheduler.start_due() == []  # it is under way
    await end(run.run_id, last_interaction_id=last)
    assert len(await scheduler.start_due()) == 1


async def test_interactions_that_the_last_bundle_learned_from_do_not_count(
    scheduler, schedule, shown, end, interactions
):
    await schedule(new_interactions=3)
    last = await interactions(10)
    await scheduler.start_due()
    await end((await shown()).run_id, last_interaction_id=last)
    assert await scheduler.start_due() == []
    await interactions(2)
    assert await scheduler.start_due() == []
    await interactions(1)
    assert len(await scheduler.start_due()) == 1


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_after_a_run_that_came_to_nothing_the_volume_waits_for_a_while(
    scheduler, clock, schedule, shown, end, interactions, state
):
    await schedule(new_interactions=3)
    clock.now = datetime.now(UTC)
    last = await interactions(3)
    await scheduler.start_due()
    await end((await shown()).run_id, state, last_interaction_id=last)
    assert await scheduler.start_due() == []
    clock.now += PAUSE_AFTER_FAILURE + timedelta(minutes=1)
    assert len(await scheduler.start_due()) == 1
