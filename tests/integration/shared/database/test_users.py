from datetime import UTC, datetime

from sqlalchemy import select

from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.tables import RecommendationRow
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
