"""The embedded PostgreSQL server: start, reuse, crash, and the ways to shed root."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from infra.local import postgres
from infra.local.ports import accepts, choose_port
from infra.local.postgres import (
    AS_NOBODY_PASSING_FOLDERS,
    IN_NAMESPACE,
    PostgresServer,
)
from infra.local.running import running
from shared.errors import UnavailableError

pytestmark = pytest.mark.integration

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def server(tmp_path):
    return PostgresServer(tmp_path / "a folder", choose_port())


def execute(server, statement, database="postgres"):
    with psycopg.connect(server.conninfo(database)) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


def test_a_stopped_server_keeps_its_data_and_listens_no_more(server):
    with running(server):
        execute(server, "CREATE TABLE kept AS SELECT 7 AS value")
    assert not accepts(server.port)
    with running(server):
        assert execute(server, "SELECT value FROM kept") == [(7,)]


def test_a_killed_server_recovers_what_was_committed(server):
    with running(server) as process:
        execute(server, "CREATE TABLE kept AS SELECT 7 AS value")
        process.kill()
        process.wait()
    assert (server.data / "postmaster.pid").exists()
    with running(server):
        assert execute(server, "SELECT value FROM kept") == [(7,)]


def test_a_lock_file_that_names_an_unrelated_process_is_no_obstacle(server):
    server.prepare()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n0\n{server.port}\n")
    with running(server):
        assert server.is_ready()


def test_a_second_server_over_the_same_folder_is_refused(server, monkeypatch):
    monkeypatch.setattr(postgres, "FORMER_SERVER_PATIENCE_S", 0.2)
    with running(server):
        second = PostgresServer(server.folder, choose_port())
        with pytest.raises(UnavailableError, match="another PostgreSQL server"):
            second.prepare()
        assert server.is_ready()


def test_an_interrupted_initialization_is_done_again(server):
    (server.folder / "data.part" / "base").mkdir(parents=True)
    with running(server):
        assert not (server.folder / "data.part").exists()


def test_the_password_is_asked_for_and_is_for_its_owner_alone(server):
    assert not server.folder.exists()
    with running(server):
        wrong = server.conninfo().replace(server.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
    assert (server.folder / "password").stat().st_mode & 0o777 == 0o600


def test_a_database_is_made_once_and_can_be_a_copy_of_another(server):
    with running(server):
        server.create_database("one")
        execute(server, "CREATE TABLE t AS SELECT 1 AS x", "one")
        server.create_database("one")
        server.create_database("two", template="one")
        assert execute(server, "SELECT x FROM t", "two") == [(1,)]
        server.drop_database("two")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            execute(server, "SELECT 1", "two")


def test_a_server_that_cannot_start_says_why(server):
    broken = PostgresServer(server.folder, server.port, options={"shared_buffers": "nonsense"})
    with pytest.raises(UnavailableError, match="shared_buffers"), running(broken):
        pass


OWNER = """
import sys
from pathlib import Path
from infra.local.postgres import PostgresServer
from infra.local.running import running
with running(PostgresServer(Path(sys.argv[1]), int(sys.argv[2]))) as process:
    print("ready", flush=True)
    sys.stdin.read()
"""


def start_owner(server, prefix=()):
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, str(server.folder), str(server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": "/nonexistent"},
    )


def is_gone_within(port, seconds):
    deadline = time.monotonic() + seconds
    while accepts(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_server_does_not_outlive_a_killed_owner_and_can_be_started_again(server):
    owner = start_owner(server)
    assert owner.stdout.readline() == "ready\n"
    owner.kill()
    owner.communicate()
    assert is_gone_within(server.port, 15)
    with running(server):
        assert server.is_ready()


@as_root
@pytest.mark.parametrize("confined", [IN_NAMESPACE, AS_NOBODY_PASSING_FOLDERS])
def test_root_can_run_it_in_each_way_and_change_between_them(server, monkeypatch, confined):
    if not postgres._succeeds([*confined.prefix, "true"]):
        pytest.skip(f"{confined.prefix[0]} does not work here")
    with running(server):
        execute(server, "CREATE TABLE kept AS SELECT 7 AS value")
    monkeypatch.setattr(postgres, "confinement", lambda: confined)
    with running(server) as process:
        assert execute(server, "SELECT value FROM kept") == [(7,)]
        status = Path(f"/proc/{process.pid}/status").read_text()
        uid = status.split("Uid:")[1].split()[0]
        assert server.data.stat().st_uid == int(uid)


@as_root
def test_an_ordinary_user_can_run_it(tmp_path, server):
    if not postgres._succeeds([*AS_NOBODY_PASSING_FOLDERS.prefix, sys.executable, "-c", ""]):
        pytest.skip("setpriv does not work here")
    os.chown(tmp_path, postgres.NOBODY, postgres.NOBODY)
    owner = start_owner(server, AS_NOBODY_PASSING_FOLDERS.prefix)
    try:
        assert owner.stdout.readline() == "ready\n"
        assert server.data.stat().st_uid == postgres.NOBODY
        assert execute(server, "SELECT 1") == [(1,)]
    finally:
        owner.communicate()  # the end of its input ends it
    assert is_gone_within(server.port, 15)
