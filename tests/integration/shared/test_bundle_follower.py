"""The follower against Postgres and Valkey; what it loads is a word."""

import asyncio

import pytest

from shared.bundle_follower import BundleFollower
from shared.database.bundles import BundleRepository
from shared.database.session import Database
from shared.database.traffic import TrafficRepository
from shared.errors import NotFoundError, UnavailableError
from shared.notices import BundleActive, Notices

pytestmark = pytest.mark.integration


class Loads:
    """Counts what is loaded and released; loads wait, or fail, where told to."""

    def __init__(self):
        self.loaded, self.released, self.active = [], [], []
        self.broken = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, catalog_id, version):
        self.loaded.append(version)
        await self.gate.wait()
        if version in self.broken:
            raise UnavailableError(f"{version} is broken")
        return f"{catalog_id} {version}"

    async def release(self, catalog_id, loaded):
        self.released.append(loaded)

    async def activated(self, catalog_id, loaded):
        self.active.append(loaded)


@pytest.fixture
async def database(settings):
    database = Database(settings.database)
    yield database
    await database.close()


@pytest.fixture
def loads():
    return Loads()


@pytest.fixture
async def notices(settings):
    notices = Notices(settings.redis)
    yield notices
    await notices.close()


@pytest.fixture
def make_follower(database, notices, loads):
    def make(interval_s=0.05):
        return BundleFollower(
            database,
            notices,
            ["shop", "other"],
            interval_s=interval_s,
            load=loads.load,
            release=loads.release,
            activated=loads.activated,
        )

    return make


@pytest.fixture
async def follower(make_follower):
    follower = make_follower()
    yield follower
    await follower.stop()


async def go_live(database, version, catalog_id="shop"):
    async with database.transaction() as session:
        bundles = BundleRepository(session, catalog_id)
        if await bundles.get(version) is None:
            await bundles.add(version, {}, run_id=None)
        await bundles.make_live(version)


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def is_ready(follower):
    try:
        follower.require_ready()
    except UnavailableError:
        return False
    return True


async def test_it_serves_what_is_live_and_keeps_the_one_before(database, follower, loads):
    with pytest.raises(UnavailableError):
        follower.require_ready()
    await go_live(database, "one")
    follower.start()
    await until(lambda: follower.active("shop") == "one")
    await until(lambda: is_ready(follower))
    for version, held in (("two", {"one", "two"}), ("three", {"two", "three"})):
        await go_live(database, version)
        await until(lambda version=version: follower.active("shop") == version)
        assert set(follower.held("shop")) == held
    await until(lambda: loads.released == ["shop one"])
    assert loads.active == ["shop one", "shop two", "shop three"]


async def test_a_rollback_needs_no_second_load(database, follower, loads):
    follower.start()
    for version in ("one", "two", "one"):
        await go_live(database, version)
        await until(lambda version=version: follower.active("shop") == version)
    assert loads.loaded == ["one", "two"]
    assert loads.released == []


async def test_loads_of_one_version_that_come_together_are_one(follower, loads):
    loads.gate.clear()
    calls = [asyncio.create_task(follower.load("shop", "one")) for _ in range(5)]
    await until(lambda: loads.loaded == ["one"])
    calls[0].cancel()
    loads.gate.set()
    assert await asyncio.gather(*calls[1:]) == ["shop one"] * 4
    assert loads.loaded == ["one"]
    assert follower.active("shop") is None


async def test_a_failed_load_is_tried_again_and_the_old_one_serves(database, follower, loads):
    await go_live(database, "one")
    follower.start()
    await until(lambda: follower.active("shop") == "one")
    loads.broken.add("two")
    await go_live(database, "two")
    await until(lambda: loads.loaded.count("two") >= 3)
    assert follower.active("shop") == "one"
    follower.require_ready()
    loads.broken.clear()
    await until(lambda: follower.active("shop") == "two")


async def test_a_bundle_that_cannot_be_loaded_at_the_start_is_not_ready(database, follower, loads):
    loads.broken.add("one")
    await go_live(database, "one")
    follower.start()
    await until(lambda: loads.loaded.count("one") >= 2)
    with pytest.raises(UnavailableError, match="one is broken"):
        follower.require_ready()


async def test_a_bundle_in_use_is_not_released(database, follower, loads):
    follower.start()
    await go_live(database, "one")
    await until(lambda: follower.active("shop") == "one")
    with follower.use("shop") as loaded:
        for version in ("two", "three"):
            await go_live(database, version)
            await until(lambda version=version: follower.active("shop") == version)
        assert loaded == "shop one"
        assert loads.released == []
    await until(lambda: loads.released == ["shop one"])


async def test_a_bundle_that_was_replaced_while_it_loaded_is_not_switched_to(
    database, follower, loads
):
    await go_live(database, "one")
    loads.gate.clear()
    following = asyncio.create_task(follower.follow())
    await until(lambda: loads.loaded == ["one"])
    await go_live(database, "two")
    loads.gate.set()
    await following
    assert loads.active == []
    await follower.follow()
    assert loads.active == ["shop two"]


async def test_a_notice_saves_the_wait(database, make_follower, notices, loads):
    follower = make_follower(interval_s=600)
    follower.start()
    await until(lambda: follower._catalogs["shop"].looked)
    await go_live(database, "one")

    async def tell():
        while follower.active("shop") is None:
            await notices.publish(BundleActive(catalog_id="shop", version="one"))
            await asyncio.sleep(0.05)

    await asyncio.wait_for(tell(), timeout=20)
    await follower.stop()


async def test_activating_loads_what_is_not_loaded(follower, loads):
    await follower.activate("shop", "one")
    assert follower.active("shop") == "one"
    with follower.use("shop", "one") as loaded:
        assert loaded == "shop one"


async def test_what_is_not_there_is_named(follower):
    with pytest.raises(NotFoundError, match="nowhere"), follower.use("nowhere"):
        pass
    with pytest.raises(UnavailableError, match="no live bundle"), follower.use("shop"):
        pass
    with (
        pytest.raises(UnavailableError, match="nine of catalogue shop"),
        follower.use("shop", "nine"),
    ):
        pass


async def test_it_always_stops(make_follower):
    for pause in range(30):
        follower = make_follower(interval_s=0.02)
        follower.start()
        await asyncio.sleep(0.02 + pause / 1000)
        async with asyncio.timeout(20):
            await follower.stop()


async def share(database, **shares):
    async with database.transaction() as session:
        await TrafficRepository(session, "shop").replace(shares)


async def publish(database, version):
    async with database.transaction() as session:
        await BundleRepository(session, "shop").add(version, {}, run_id=None)


async def test_after_a_restart_the_one_before_is_held_too(database, follower, loads):
    for version in ("one", "two", "three"):
        await go_live(database, version)
    follower.start()
    await until(lambda: set(follower.held("shop")) == {"two", "three"})
    assert loads.loaded[0] == "three"
    assert loads.active == ["shop three"]


async def test_bundles_with_traffic_are_held_through_switches_until_it_ends(
    database, follower, loads
):
    follower.start()
    await go_live(database, "one")
    await publish(database, "tried")
    await share(database, tried=10)
    await until(lambda: set(follower.held("shop")) == {"one", "tried"})
    for version in ("two", "three"):
        await go_live(database, version)
        await until(lambda version=version: follower.active("shop") == version)
    await until(lambda: set(follower.held("shop")) == {"two", "three", "tried"})
    await share(database)
    await until(lambda: "shop tried" in loads.released)
    assert set(follower.held("shop")) == {"two", "three"}


async def test_what_is_being_prepared_stays_until_the_next_switch(database, follower, loads):
    follower.start()
    await go_live(database, "one")
    await until(lambda: follower.active("shop") == "one")
    await follower.load("shop", "prepared")
    await publish(database, "tried")
    await share(database, tried=10)
    await until(lambda: "tried" in follower.held("shop"))
    assert "prepared" in follower.held("shop")
    await go_live(database, "two")
    await until(lambda: loads.released == ["shop prepared"])


async def test_a_bundle_with_traffic_that_cannot_be_loaded_keeps_nothing_else_from_serving(
    database, follower, loads
):
    loads.broken.add("tried")
    await publish(database, "tried")
    await share(database, tried=10)
    await go_live(database, "one")
    follower.start()
    await until(lambda: loads.loaded.count("tried") >= 2)
    assert follower.active("shop") == "one"
    follower.require_ready()
    loads.broken.clear()
    await until(lambda: "tried" in follower.held("shop"))
