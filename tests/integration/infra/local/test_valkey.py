"""The embedded Valkey server."""

import pytest
import redis

from infra.local.ports import accepts, choose_port
from infra.local.running import running
from infra.local.valkey import ValkeyServer

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path):
    return ValkeyServer(tmp_path / 'a "quoted" folder', choose_port())


def test_a_stopped_server_keeps_its_data_and_listens_no_more(server):
    with running(server), redis.Redis.from_url(server.url()) as client:
        client.set("kept", "7")
    assert not accepts(server.port)
    with running(server), redis.Redis.from_url(server.url()) as client:
        assert client.get("kept") == b"7"


def test_a_killed_server_recovers_its_append_only_file(server):
    with running(server) as process, redis.Redis.from_url(server.url()) as client:
        client.set("kept", "7")
        assert client.waitaof(1, 0, 5000)[0] == 1
        process.kill()
        process.wait()
    with running(server), redis.Redis.from_url(server.url()) as client:
        assert client.get("kept") == b"7"


def test_the_password_is_asked_for_and_is_for_its_owner_alone(server):
    with (
        running(server),
        redis.Redis(host="127.0.0.1", port=server.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    for name in ("password", "valkey.conf"):
        assert (server.folder / name).stat().st_mode & 0o777 == 0o600
