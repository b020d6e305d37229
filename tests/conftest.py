"""The servers that tests run against: one Postgres and one Valkey for all of them, fresh inside."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from infra.local.ports import choose_port
from infra.local.postgres import NOT_DURABLE, PostgresServer
from infra.local.running import running
from infra.local.valkey import ValkeyServer
from infra.migrations.upgrade import upgrade
from shared.settings import Settings

MIGRATED = "migrated"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running server whose database `migrated` has the newest schema and no rows."""
    folder = tmp_path_factory.mktemp("postgres")
    server = PostgresServer(folder, choose_port(), options=NOT_DURABLE)
    with running(server):
        server.create_database(MIGRATED)
        # In a thread of its own: the migrations bring their own event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(upgrade, server.url(MIGRATED)).result()
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own, with the newest schema and no rows."""
    name = f"test_{secrets.token_hex(6)}"
    postgres_server.create_database(name, template=MIGRATED)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def module_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Like `database_url`, shared by the tests of a module."""
    name = f"module_{secrets.token_hex(6)}"
    postgres_server.create_database(name, template=MIGRATED)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A running server."""
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"), choose_port(), append_only=False)
    with running(server):
        yield server


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """An empty Redis database."""
    with redis.Redis.from_url(valkey_server.url()) as client:
        client.flushall()
    return valkey_server.url()


@pytest.fixture
def make_settings(tmp_path: Path, database_url: str, redis_url: str) -> Callable[..., Settings]:
    """Makes settings whose stores are the test's own; sections can be overridden by name:

    settings = make_settings(gateway={"ready_wait_s": 0})
    """
    stores = {
        "database": {"url": database_url, "pool_size": 5},
        "redis": {"url": redis_url},
        "artifacts": {"url": str(tmp_path / "artifacts"), "cache": str(tmp_path / "cache")},
        "vectors": {"folder": str(tmp_path / "qdrant")},
        # "auto" would start vLLM, where it is installed, for each of the tests.
        "ranking": {"engine": "transformers"},
    }

    def make(**sections: Any) -> Settings:
        merged: dict[str, Any] = dict(stores)
        for name, section in sections.items():
            own = merged.get(name)
            merged[name] = {**own, **section} if isinstance(own, dict) else section
        return Settings(**merged)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings whose stores are the test's own."""
    return make_settings()


# Plain tracebacks: the default ones print the locals of each frame, which takes minutes where those
# are models.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)
