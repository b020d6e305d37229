from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from shared.database import interactions as interactions_module
from shared.database.interactions import InteractionRepository, NewInteraction, Totals
from shared.settings import EventSettings

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ALL = EventSettings()


def event(user: str, item: str, minutes: int = 0, **more) -> NewInteraction:
    kind = more.pop("kind", "view")
    return NewInteraction(user, item, kind, NOON + timedelta(minutes=minutes), **more)


@pytest.fixture
async def interactions(database):
    async with database.transaction() as session:
        yield InteractionRepository(session, "shop")


async def test_a_history_is_oldest_first_and_equal_times_keep_the_order_of_arrival(interactions):
    await interactions.add(
        [event("u", "late", 5), event("u", "first"), event("u", "second"), event("w", "other")]
    )
    assert await interactions.history("u", limit=10, rule=ALL) == ["first", "second", "late"]
    assert await interactions.history("u", limit=2, rule=ALL) == ["second", "late"]


async def test_equal_times_keep_the_order_of_arrival_whatever_the_event_ids(interactions):
    await interactions.add([event("u", item, event_id=item) for item in "cab"])
    await interactions.add([event("u", "d", event_id="0")])
    assert await interactions.history("u", limit=10, rule=ALL) == ["c", "a", "b", "d"]


async def test_a_late_event_is_placed_by_its_time(interactions):
    await interactions.add([event("u", "a", 1), event("u", "c", 3)])
    await interactions.add([event("u", "b", 2)])
    assert await interactions.history("u", limit=10, rule=ALL) == ["a", "b", "c"]
    assert [of_user.item_ids async for of_user in interactions.sequences(ALL)] == [["a", "b", "c"]]


async def test_a_history_goes_as_far_back_as_its_limit_needs(interactions):
    seen = [event("u", item, n) for n, item in enumerate("ab" + "c" * 50)]
    await interactions.add([*seen, event("u", "d", 99, kind="rating", rating=1.0)])
    assert await interactions.history("u", limit=2, rule=ALL) == ["b", "c"]


async def test_seen_is_also_what_is_no_positive(interactions):
    await interactions.add(
        [event("u", "a"), event("u", "b", kind="rating", rating=1.0), event("w", "c")]
    )
    assert await interactions.seen("u") == {"a", "b"}


async def test_of_what_was_seen_the_newest_is_read_and_no_more_than_is_allowed(
    interactions, monkeypatch
):
    monkeypatch.setattr(interactions_module, "MOST_READ", 3)
    await interactions.add([event("u", item, n) for n, item in enumerate("abcc")])
    await interactions.add([event("u", "late", -1)])
    assert await interactions.seen("u") == {"b", "c"}


async def test_no_more_is_read_for_a_history_than_is_allowed(interactions, monkeypatch):
    monkeypatch.setattr(interactions_module, "MOST_READ", 5)
    await interactions.add([event("u", item, n) for n, item in enumerate("ab" + "c" * 4)])
    assert await interactions.history("u", limit=3, rule=ALL) == ["b", "c"]


async def test_an_event_with_a_known_id_is_not_stored_again(database, interactions):
    assert await interactions.add([event("u", "a", event_id="e1"), event("u", "b")]) == [True, True]
    again = [event("u", "a", event_id="e1"), event("u", "b"), event("u", "c", event_id="e2")]
    assert await interactions.add(again) == [False, True, True]
    async with database.transaction() as session:
        rival = InteractionRepository(session, "rival")
        assert await rival.add([event("u", "a", event_id="e9")]) == [True]


async def test_of_one_id_twice_in_a_batch_the_first_is_stored(interactions):
    twice = [event("u", "b", event_id="e"), event("u", "a"), event("u", "c", event_id="e")]
    assert await interactions.add(twice) == [True, True, False]
    assert await interactions.history("u", limit=9, rule=ALL) == ["b", "a"]


async def test_nothing_to_store_is_fine(interactions):
    assert await interactions.add([]) == []


async def test_a_kind_of_event_that_there_is_not_cannot_be_stored(database):
    with pytest.raises(IntegrityError, match="ck_interactions_event_type"):
        async with database.transaction() as session:
            await InteractionRepository(session, "shop").add([event("u", "a", kind="sneeze")])


async def test_sequences_come_user_by_user_oldest_first_with_what_was_left_out(
    database, interactions
):
    await interactions.add(
        [
            event("w", "c"),
            event("u", "b", 2),
            event("u", "a"),
            event("u", "a", 1, kind="purchase"),
            event("v", "x", kind="rating", rating=3.0),
        ]
    )
    async with database.transaction() as session:
        await InteractionRepository(session, "rival").add([event("u", "theirs")])
    found = [
        (of_user.item_ids, of_user.non_positive, of_user.repeated)
        async for of_user in interactions.sequences(ALL)
    ]
    assert found == [(["a", "b"], 0, 1), ([], 1, 0), (["c"], 0, 0)]
    assert await interactions.totals() == Totals(users=3, items=4, interactions=5)


async def test_sequences_of_nobody_are_none(interactions):
    assert [of_user async for of_user in interactions.sequences(ALL)] == []


async def test_what_a_user_did_is_read_newest_first_in_pages(interactions):
    await interactions.add(
        [event("u", "a"), event("u", "b"), event("u", "c"), event("u", "z", -1), event("w", "x", 9)]
    )
    pages, before = [], None
    while page := await interactions.latest("u", before=before, limit=2):
        pages.append([row.item_id for row in page])
        before = (page[-1].occurred_at, page[-1].id)
    assert pages == [["c", "b"], ["a", "z"]]


async def test_a_mark_names_the_interaction_that_arrived_last(database, interactions):
    assert (await interactions.mark()).newest_id is None
    await interactions.add([event("u", "late", 9), event("u", "early")])
    (late, early) = await interactions.latest("u", before=None, limit=2)
    async with database.transaction() as session:
        await InteractionRepository(session, "rival").add([event("u", "theirs")])
    assert (await interactions.mark()).newest_id == early.id > late.id


async def test_a_mark_is_settled_when_what_was_being_stored_is_there(database):
    async def is_settled(mark) -> bool:
        async with database.transaction() as session:
            return await InteractionRepository(session, "shop").is_settled(mark)

    async with database.transaction() as slow:
        await InteractionRepository(slow, "shop").add([event("u", "a")])
        async with database.transaction() as session:
            await InteractionRepository(session, "shop").add([event("u", "b")])
        async with database.transaction() as session:
            mark = await InteractionRepository(session, "shop").mark()
        assert not await is_settled(mark)

    async with database.transaction() as later:
        await InteractionRepository(later, "shop").add([event("u", "c")])
        assert await is_settled(mark)
