import os
import subprocess
import sys

import pytest

from infra.local.state import StackDescription, StateFolder
from shared.errors import ConflictError, UnavailableError

HOLDER = """
import sys, time
from pathlib import Path
from infra.local.state import StateFolder
with StateFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def state(tmp_path):
    return StateFolder(tmp_path / "state folder")


def describe(state, ready=True):
    description = StackDescription(
        pid=os.getpid(), ready=ready, ports={"gateway": 8100}, urls={}, environment={"A": "b"}
    )
    state.describe(description)
    return description


def test_a_folder_without_a_stack_is_not_running(state):
    assert state.running() is None
    assert state.last_ports() == {}


def test_a_locked_folder_refuses_a_second_stack(state):
    with state.locked():
        description = describe(state)
        assert state.running() == description
        with pytest.raises(ConflictError), state.locked():
            pass
    assert state.running() is None


def test_a_killed_owner_leaves_a_stale_description_and_no_lock(state):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        description = describe(state)
        assert state.running() == description
    finally:
        holder.kill()
        holder.communicate()
    assert state.running() is None
    assert state.last_ports() == {"gateway": 8100}
    with state.locked():
        pass


def test_the_description_is_for_its_owner_alone(state):
    state.path.mkdir()
    describe(state)
    assert state.description_file.stat().st_mode & 0o777 == 0o600


def test_a_description_that_is_cut_off_counts_as_none(state):
    state.path.mkdir()
    describe(state)
    state.description_file.write_text(state.description_file.read_text()[:20])
    assert state.last_description() is None


def test_a_stopped_stack_is_not_ready_but_its_ports_are_remembered(state):
    state.path.mkdir()
    describe(state)
    state.forget()
    assert state.last_description().ready is False
    assert state.last_ports() == {"gateway": 8100}


def test_a_path_that_is_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="file"), StateFolder(tmp_path / "file").locked():
        pass
