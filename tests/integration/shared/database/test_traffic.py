import pytest

from shared.database.bundles import BundleRepository, BundlesInService
from shared.database.traffic import TrafficRepository

CATALOG = "shop"

pytestmark = pytest.mark.integration


async def share(database, shares, catalog=CATALOG):
    async with database.transaction() as session:
        await TrafficRepository(session, catalog).replace(shares)


async def shares(database, catalog=CATALOG):
    async with database.transaction() as session:
        return await TrafficRepository(session, catalog).shares()


async def test_shares_replace_one_another_within_their_catalogue(database, rows):
    for version in ("v3", "v1", "v2"):
        await rows.bundle(version)
        await rows.bundle(version, catalog="rival")
    await share(database, {"v1": 50.0}, "rival")
    await share(database, {"v1": 10.0, "v2": 5.0})
    await share(database, {"v3": 2.5, "v2": 20.0})

    assert list((await shares(database)).items()) == [("v2", 20.0), ("v3", 2.5)]
    await share(database, {})
    assert await shares(database) == {}
    assert await shares(database, "rival") == {"v1": 50.0}


async def test_one_share_can_end_alone(database, rows):
    await rows.bundle("v1")
    await rows.bundle("v2")
    await share(database, {"v1": 10.0, "v2": 5.0})
    async with database.transaction() as session:
        await TrafficRepository(session, CATALOG).end("v1")
        await TrafficRepository(session, CATALOG).end("without a share")

    assert await shares(database) == {"v2": 5.0}


async def test_live_former_and_those_with_traffic_are_in_service(database, rows):
    for version in ("v1", "v2", "v3"):
        await rows.bundle(version, live=True)
    await rows.bundle("v4")
    await rows.bundle("v5")
    await share(database, {"v4": 10.0})
    async with database.transaction() as session:
        in_service = await BundleRepository(session, CATALOG).in_service()

    assert in_service == BundlesInService("v3", "v2", frozenset({"v4"}))
    assert in_service.all == {"v2", "v3", "v4"}


async def test_a_bundle_that_is_removed_takes_its_share_along(database, rows):
    await rows.bundle("v1")
    await share(database, {"v1": 10.0})
    async with database.transaction() as session:
        await BundleRepository(session, CATALOG).remove("v1")

    assert await shares(database) == {}
