from datetime import UTC, datetime, timedelta

from shared.database.interactions import InteractionRepository, NewInteraction, Totals

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(user: str, item: str, minutes: int = 0, event_id: str | None = None) -> NewInteraction:
    return NewInteraction(user, item, "view", NOON + timedelta(minutes=minutes), event_id=event_id)


async def test_a_history_is_oldest_first_and_equal_times_keep_the_order_of_arrival(database):
    async with database.transaction() as session:
        interactions = InteractionRepository(session, "shop")
        await interactions.add(
            [event("u", "late", 5), event("u", "first"), event("u", "second"), event("w", "other")]
        )
        assert await interactions.history("u", limit=10) == ["first", "second", "late"]
        assert await interactions.history("u", limit=2) == ["second", "late"]


async def test_an_event_with_a_known_id_is_not_stored_again(database):
    async with database.transaction() as session:
        interactions = InteractionRepository(session, "shop")
        assert await interactions.add([event("u", "a", event_id="e1"), event("u", "b")]) == 2
        assert await interactions.add([event("u", "a", event_id="e1"), event("u", "b")]) == 1
        rival = InteractionRepository(session, "rival")
        assert await rival.add([event("u", "a", event_id="e1")]) == 1


async def test_all_interactions_come_user_by_user_oldest_first(database):
    async with database.transaction() as session:
        interactions = InteractionRepository(session, "shop")
        await interactions.add([event("w", "c"), event("u", "b", 1), event("u", "a")])
        await InteractionRepository(session, "rival").add([event("u", "theirs")])
        found = [pair async for pair in interactions.in_order()]
        assert found == [("u", "a"), ("u", "b"), ("w", "c")]
        assert await interactions.totals() == Totals(users=2, items=3, interactions=3)
