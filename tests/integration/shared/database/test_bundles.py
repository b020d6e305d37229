import asyncio

import pytest

from shared.database.bundles import BundleRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.errors import NotFoundError
from shared.modeling.modality import Modality

CATALOG = "shop"


async def states(database, catalog: str = CATALOG) -> dict[str, str]:
    async with database.transaction() as session:
        return {row.version: row.state for row in await BundleRepository(session, catalog).all()}


async def test_one_bundle_is_live_and_the_one_before_is_retired(database, rows):
    await rows.bundle("v1", live=True)
    await rows.bundle("v2", live=True)
    await rows.bundle("v3")
    assert await states(database) == {"v3": "published", "v2": "live", "v1": "retired"}
    async with database.transaction() as session:
        live = await BundleRepository(session, CATALOG).live()
    assert live.version == "v2"
    assert live.activated_at is not None


async def test_an_older_bundle_can_be_made_live_again(database, rows):
    await rows.bundle("v1", live=True)
    await rows.bundle("v2", live=True)
    async with database.transaction() as session:
        await BundleRepository(session, CATALOG).make_live("v1")
    assert await states(database) == {"v2": "retired", "v1": "live"}


async def test_an_unknown_bundle_cannot_go_live_and_the_live_one_stays(database, rows):
    await rows.bundle("v1", live=True)
    await rows.bundle("v9", catalog="rival")
    async with database.transaction() as session:
        with pytest.raises(NotFoundError, match="v9"):
            await BundleRepository(session, CATALOG).make_live("v9")
    assert await states(database) == {"v1": "live"}


async def test_catalogues_have_live_bundles_of_their_own(database, rows):
    await rows.bundle("v1", live=True)
    await rows.bundle("v2", live=True, catalog="rival")
    assert await states(database) == {"v1": "live"}
    assert await states(database, "rival") == {"v2": "live"}


async def test_bundles_are_listed_newest_first(database, rows):
    for version in ("20260101T000000-aaaa", "20260102T000000-bbbb", "20260103T000000-cccc"):
        await rows.bundle(version)
    assert list(await states(database)) == [
        "20260103T000000-cccc",
        "20260102T000000-bbbb",
        "20260101T000000-aaaa",
    ]


async def test_a_removed_bundle_takes_its_semantic_ids_along_but_a_live_one_stays(database, rows):
    await rows.items("mug")
    await rows.bundle("v1")
    await rows.bundle("v2", live=True)
    async with database.transaction() as session:
        sids = SemanticIdRepository(session, CATALOG)
        for version in ("v1", "v2"):
            await sids.put(version, [ItemSemanticIds("mug", 1, {Modality.TEXT: [1]})])
            await BundleRepository(session, CATALOG).remove(version)
        assert await sids.of_items("v1", ["mug"]) == {}
        assert "mug" in await sids.of_items("v2", ["mug"])
    assert await states(database) == {"v2": "live"}


async def test_after_going_back_the_bundle_gone_back_from_was_the_one_before(database, rows):
    for version in ("v1", "v2", "v3"):
        await rows.bundle(version, live=True)
    async with database.transaction() as session:
        bundles = BundleRepository(session, CATALOG)
        assert (await bundles.in_service()).former == "v2"
        await bundles.make_live("v2")
    async with database.transaction() as session:
        assert (await BundleRepository(session, CATALOG).in_service()).former == "v3"


async def test_a_live_bundle_made_live_again_stays_as_it_is(database, rows):
    await rows.bundle("v1", live=True)
    async with database.transaction() as session:
        before = (await BundleRepository(session, CATALOG).live()).activated_at
    async with database.transaction() as session:
        await BundleRepository(session, CATALOG).make_live("v1")
    async with database.transaction() as session:
        assert (await BundleRepository(session, CATALOG).live()).activated_at == before


async def test_of_many_that_go_live_at_once_one_is(database, rows):
    versions = [f"v{number}" for number in range(5)]
    for version in versions:
        await rows.bundle(version)

    async def go_live(version):
        async with database.transaction() as session:
            await BundleRepository(session, CATALOG).make_live(version)

    await asyncio.gather(*map(go_live, versions))

    assert sorted((await states(database)).values()) == ["live", *["retired"] * 4]
