"""The snapshot of a real database."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest

from services.training.configs import configs_of
from services.training.context import StageContext
from services.training.lease import LeaseLostError, lease_of_run
from services.training.progress_board import ProgressBoard
from services.training.stages import snapshot
from services.training.stages.snapshot import load_snapshot, read_snapshot
from services.training.work_folder import WorkFolder
from shared.contracts.admin import TrainingCreate
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository, NewItem
from shared.database.training_runs import TrainingRunRepository
from shared.database.users import UserRepository
from shared.ingestion.item_content import item_content
from shared.settings import EventSettings

CATALOG = "shop"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)


@pytest.fixture
async def items(resources):
    """Four items: a, b, c, d."""
    async with resources.database.transaction() as session:
        await ItemRepository(session, CATALOG).insert_many(
            [NewItem(item_id, item_content(title=item_id)) for item_id in "abcd"],
            relay_after=timedelta(0),
        )


@pytest.fixture
def did(resources, items):
    """Stores what a user did: (item, minute, kind, rating), in the order of arrival."""

    async def store(user_id: str, *events: tuple) -> None:
        async with resources.database.transaction() as session:
            await InteractionRepository(session, CATALOG).add(
                [
                    NewInteraction(user_id, item_id, kind, NOON + timedelta(minutes=minute), rating)
                    for item_id, minute, kind, rating in events
                ]
            )

    return store


@pytest.fixture
def read(resources):
    async def of_now(rule: EventSettings = EventSettings()):
        async with resources.database.transaction() as session:
            found = await read_snapshot(session, CATALOG, rule)
        named = [[found.items[row].item_id for row in sequence] for sequence in found.sequences]
        return found, named

    return of_now


async def test_what_is_no_position_of_a_sequence_is_left_out_and_counted(did, read):
    await did(
        "u",
        ("a", 0, "view", None),
        ("a", 1, "purchase", None),
        ("b", 2, "rating", 3.0),
        ("c", 3, "rating", 5.0),
        ("no such item", 4, "view", None),
        ("d", 5, "interaction", None),
    )
    await did("v", ("a", 0, "view", None), ("b", 1, "rating", 1.0))

    found, sequences = await read()

    assert sequences == [["a", "c", "d"]]
    described = found.describe()
    left_out = ("unknown_interactions", "short_sequences", "non_positive", "repeated")
    assert [described[name] for name in left_out] == [1, 1, 2, 1]


async def test_the_rule_is_the_one_of_the_settings(did, read):
    await did("u", *((item_id, n, "view", None) for n, item_id in enumerate("abc")))
    await did("w", *((item_id, n, "cart", 2.0) for n, item_id in enumerate("abc")))

    _, sequences = await read(EventSettings(minimum_weight=3, positive_above=1))

    assert sequences == [["a", "b", "c"]]


async def test_late_events_are_placed_by_their_time(did, read):
    await did("u", ("c", 3, "view", None), ("a", 1, "view", None))
    await did("u", ("b", 2, "view", None), ("d", 3, "view", None))

    assert (await read())[1] == [["a", "b", "c", "d"]]


async def test_a_history_to_rank_by_is_the_sequence_that_is_trained_on(resources, did, read):
    kinds = ("view", "click", "cart", "purchase", "rating")
    happened = [
        ("abcd"[n * n % 7 % 4], n % 7, kinds[n % 5], [None, 2.0, 4.0][n % 3]) for n in range(60)
    ]
    await did("u", *happened)

    _, (sequence,) = await read()

    async with resources.database.transaction() as session:
        history = await InteractionRepository(session, CATALOG).history(
            "u", limit=1000, rule=EventSettings()
        )
    assert history == sequence


@pytest.mark.parametrize("rule", [EventSettings(), EventSettings(minimum_weight=3)])
async def test_what_a_dry_run_counts_is_what_the_snapshot_takes(resources, did, read, rule):
    kinds = ("view", "click", "cart", "purchase", "rating")
    of_many = ("a", "b", "no such item", "c", "broken", "gone", "a", "d")
    for user in range(40):
        random = np.random.default_rng(user)
        await did(
            f"user-{user}",
            *(
                (str(random.choice(of_many)), int(random.integers(5)), str(random.choice(kinds)), r)
                for r in random.choice([None, 2.0, 3.0, 4.0], size=user % 7)
            ),
        )
    async with resources.database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        new = [NewItem(item_id, item_content(title=item_id)) for item_id in ("broken", "gone")]
        await items.insert_many(new, relay_after=timedelta(0))
        await items.mark_failed("broken", 1, {"title": "broken"})
        await items.delete(await items.get("gone", for_update=True), relay_after=timedelta(0))

    found, _ = await read(rule)

    async with resources.database.transaction() as session:
        totals = await InteractionRepository(session, CATALOG).to_learn_from(rule)
    described = found.describe()
    for left_out in ("repeated", "unknown_interactions", "short_sequences", "non_positive"):
        assert described[left_out] > 0
    assert asdict(totals) == {name: described[name] for name in ("users", "items", "interactions")}


async def test_a_forgotten_user_is_in_no_later_snapshot(resources, did, read):
    for user_id in ("u", "w"):
        await did(user_id, *((item_id, n, "view", None) for n, item_id in enumerate("abc")))
    before, _ = await read()
    async with resources.database.transaction() as session:
        await UserRepository(session, CATALOG).forget("u")

    after, _ = await read()

    assert (len(before.sequences), len(after.sequences)) == (2, 1)
    assert before.sha256() != after.sha256()


@pytest.fixture
def stage(resources, tmp_path):
    """Runs the snapshot stage as the owner of a new run, or with another lease token."""

    async def run_stage(*, token_off_by: int = 0):
        async with resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            row = await runs.add(CATALOG, {})
            row = await runs.acquire(row.run_id, lease=LEASE)
        request = TrainingCreate()
        context = StageContext(
            catalog_id=CATALOG,
            run_id=row.run_id,
            version="v",
            request=request,
            configs=configs_of(request, resources.settings.training),
            resources=resources,
            lease=lease_of_run(
                resources.database,
                row.run_id,
                row.lease_token + token_off_by,
                LEASE.total_seconds(),
                ProgressBoard(),
            ),
            work=WorkFolder(resources.store, CATALOG, row.run_id),
            report=lambda progress: None,
        )
        folder = tmp_path / str(uuid4())
        folder.mkdir()
        await snapshot.run(context, folder)
        async with resources.database.transaction() as session:
            return folder, await TrainingRunRepository(session).get(row.run_id)

    return run_stage


async def test_the_run_says_up_to_which_interaction_its_snapshot_goes(resources, did, stage):
    await did("u", ("a", 9, "view", None), ("b", 1, "view", None), ("c", 2, "view", None))

    folder, row = await stage()

    assert len(load_snapshot(folder).sequences) == 1
    async with resources.database.transaction() as session:
        (*_, last) = await InteractionRepository(session, CATALOG).latest(
            "u", before=(NOON + timedelta(minutes=5), 0), limit=1
        )
    assert row.last_interaction_id == last.id


async def test_interactions_that_are_being_stored_are_waited_for(resources, did, stage):
    async with resources.database.transaction() as slow:
        await InteractionRepository(slow, CATALOG).add(
            [NewInteraction("slow", item_id, "view", NOON) for item_id in "abc"]
        )
        await did("u", *((item_id, n, "view", None) for n, item_id in enumerate("abc")))
        running = asyncio.create_task(stage())
        await asyncio.wait({running}, timeout=1)  # it waits for this transaction
    folder, row = await running

    assert len(load_snapshot(folder).sequences) == 2
    async with resources.database.transaction() as session:
        interactions = InteractionRepository(session, CATALOG)
        assert await interactions.count_after(row.last_interaction_id, at_most=10) == 0


async def test_a_transaction_that_stays_open_does_not_hold_the_run_up_for_ever(
    resources, did, stage, monkeypatch
):
    monkeypatch.setattr(snapshot, "SETTLED_WITHIN_S", 0.2)
    await did("u", *((item_id, n, "view", None) for n, item_id in enumerate("abc")))
    async with resources.database.transaction() as slow:
        await InteractionRepository(slow, CATALOG).add([NewInteraction("v", "a", "view", NOON)])

        folder, row = await stage()

    assert len(load_snapshot(folder).sequences) == 1
    assert row.last_interaction_id is not None


async def test_an_owner_that_lost_its_lease_writes_nothing(did, stage):
    await did("u", *((item_id, n, "view", None) for n, item_id in enumerate("abc")))

    with pytest.raises(LeaseLostError):
        await stage(token_off_by=-1)
