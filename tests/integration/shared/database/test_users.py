import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from shared.database.forgotten_users import ForgottenUserRepository
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.recommendations import GivenRecommendation, RecommendationRepository
from shared.database.tables import ForgottenUserRow, RecommendationRow
from shared.database.users import UserRepository

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def given_list(catalog: str, number: int, user: str | None) -> RecommendationRow:
    return RecommendationRow(
        catalog_id=catalog,
        recommendation_id=f"r{number}",
        bundle="b",
        user_id=user,
        source="ranker",
        item_ids=["a"],
        latency_ms=5.0,
        served_at=NOON,
    )


async def test_a_forgotten_user_did_nothing_and_was_given_nothing(database):
    async with database.transaction() as session:
        for catalog in ("shop", "rival"):
            await InteractionRepository(session, catalog).add(
                [NewInteraction(user, "a", "view", NOON) for user in ("u", "u", "w")]
            )
            session.add_all(
                [given_list(catalog, n, user) for n, user in enumerate(["u", "u", "w", None])]
            )

    async with database.transaction() as session:
        await UserRepository(session, "shop").forget("u")

    async with database.transaction() as session:
        rows = (await session.execute(select(RecommendationRow))).scalars()
        given = [(row.catalog_id, row.recommendation_id, row.user_id) for row in rows]
        left = {
            catalog: (await InteractionRepository(session, catalog).totals()).interactions
            for catalog in ("shop", "rival")
        }
    assert left == {"shop": 1, "rival": 3}
    assert sorted(given, key=str) == [
        ("rival", "r0", "u"),
        ("rival", "r1", "u"),
        ("rival", "r2", "w"),
        ("rival", "r3", None),
        ("shop", "r0", None),
        ("shop", "r1", None),
        ("shop", "r2", "w"),
        ("shop", "r3", None),
    ]


async def test_forgetting_a_user_whom_nobody_knows_does_nothing(database):
    async with database.transaction() as session:
        await UserRepository(session, "shop").forget("nobody")


@pytest.fixture
def forget(database):
    async def forget_user(user_id: str, catalog: str = "shop") -> None:
        async with database.transaction() as session:
            await UserRepository(session, catalog).forget(user_id)

    return forget_user


def list_for(user: str, served_at: datetime, catalog: str = "shop") -> GivenRecommendation:
    """With an id that says all three."""
    return GivenRecommendation(
        catalog_id=catalog,
        recommendation_id=f"{catalog} {user} {served_at.isoformat()}",
        bundle="b",
        user_id=user,
        source="ranker",
        fallback=None,
        item_ids=["a"],
        latency_ms=5.0,
        served_at=served_at,
    )


async def users_of_lists(database) -> dict[str, str | None]:
    async with database.transaction() as session:
        rows = (await session.execute(select(RecommendationRow))).scalars()
        return {row.recommendation_id: row.user_id for row in rows}


async def test_a_list_that_is_stored_after_its_user_was_forgotten_is_nobodys(database, forget):
    before = datetime.now(UTC)
    await forget("u")
    theirs, another, elsewhere = (
        list_for("u", before),
        list_for("w", before),
        list_for("u", before, "rival"),
    )

    async with database.transaction() as session:
        await RecommendationRepository(session).add([theirs, another, elsewhere])

    assert await users_of_lists(database) == {
        theirs.recommendation_id: None,
        another.recommendation_id: "w",
        elsewhere.recommendation_id: "u",
    }


async def test_a_forgotten_user_who_comes_back_is_somebody_again(database, forget):
    await forget("u")
    later = list_for("u", datetime.now(UTC) + timedelta(minutes=2))

    async with database.transaction() as session:
        await RecommendationRepository(session).add([later])

    assert await users_of_lists(database) == {later.recommendation_id: "u"}


async def test_a_user_is_forgotten_once_the_lists_being_stored_are_there(database, forget):
    given = list_for("u", datetime.now(UTC))
    async with database.transaction() as session:
        await RecommendationRepository(session).add([given])
        forgetting = asyncio.create_task(forget("u"))
        await asyncio.wait({forgetting}, timeout=0.5)  # it waits for this transaction
    await forgetting

    assert await users_of_lists(database) == {given.recommendation_id: None}


async def test_who_is_forgotten_twice_was_forgotten_the_second_time(database, forget):
    moments = []
    for _ in range(2):
        await forget("u")
        async with database.transaction() as session:
            known = await ForgottenUserRepository(session).when({("shop", "u"), ("shop", "w")})
        moments.append(known[("shop", "u")])
        assert len(known) == 1

    assert moments[0] < moments[1]


async def test_no_id_of_a_forgotten_user_is_kept(database, forget):
    await forget("somebody")

    async with database.transaction() as session:
        (row,) = (await session.execute(select(ForgottenUserRow))).scalars()
    assert b"somebody" not in row.user_sha256
