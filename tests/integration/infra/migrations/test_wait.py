"""What waits for the schema goes on when it is there, and not before."""

import os
import subprocess
import sys
from contextlib import contextmanager

import psycopg
import pytest

from infra.local.ports import choose_port
from infra.migrations.wait import is_migrated

pytestmark = pytest.mark.integration


@pytest.fixture
def empty_database_url(postgres_server):
    postgres_server.create_database("without_schema")
    yield postgres_server.url("without_schema")
    postgres_server.drop_database("without_schema")


def set_revision(url, revision):
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [revision])


def test_the_newest_schema_is_what_is_waited_for(database_url, empty_database_url):
    assert is_migrated(database_url)
    assert not is_migrated(empty_database_url)


def test_an_older_schema_is_not_enough(database_url):
    set_revision(database_url, "0001")
    assert not is_migrated(database_url)


def test_a_newer_schema_will_do_for_code_that_was_rolled_back(database_url):
    set_revision(database_url, "9999")
    assert is_migrated(database_url)


@contextmanager
def waiting_for(url):
    """The command, and the first thing that it says."""
    environment = {**os.environ, "MMESID_DATABASE__URL": url}
    command = [sys.executable, "-m", "infra.migrations.wait"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


def test_the_command_waits_for_the_migrations_and_then_ends(empty_database_url):
    with waiting_for(empty_database_url) as (process, said):
        assert "waiting for the migrations" in said
        assert process.poll() is None
        environment = {**os.environ, "MMESID_DATABASE__URL": empty_database_url}
        migrating = [sys.executable, "-m", "infra.migrations.upgrade"]
        subprocess.run(migrating, env=environment, check=True)
        assert process.wait(60) == 0


def test_the_command_waits_for_a_database_that_is_away():
    nowhere = f"postgresql+psycopg://mmesid@127.0.0.1:{choose_port()}/mmesid"
    with waiting_for(nowhere) as (process, said):
        assert "waiting for the database" in said
        assert process.poll() is None
