"""The fixtures that the other integration tests stand on."""

import psycopg
import pytest
import redis

from shared.database.api_keys import ApiKeyRepository, Scope
from shared.database.session import Database
from shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("run", [1, 2])
async def test_a_test_gets_a_migrated_database_without_rows_of_other_tests(settings, run):
    database = Database(settings.database)
    async with database.transaction() as session:
        key = await ApiKeyRepository(session).create("default", name="n", scopes=[Scope.READ])
    async with database.transaction() as session:
        assert await ApiKeyRepository(session).find(key) is not None
    await database.close()
    with psycopg.connect(settings.database.url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM api_keys").fetchone() == (1,)


@pytest.mark.parametrize("run", [1, 2])
def test_a_test_gets_an_empty_redis(redis_url, run):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_settings_can_be_overridden_by_section(make_settings):
    settings: Settings = make_settings(database={"pool_size": 2}, gateway={"ready_wait_s": 0})
    assert settings.database.pool_size == 2
    assert settings.gateway.ready_wait_s == 0
    assert settings.database.url.startswith("postgresql+psycopg://")
