"""The supervisor over real, tiny processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.supervisor import (
    RestartPolicy,
    Service,
    ServiceFailedError,
    State,
    Supervisor,
)
from infra.local.tether import tethered

pytestmark = pytest.mark.integration

PATIENT = 30.0
QUICK = RestartPolicy(limit=2, first_pause_s=0.05, max_pause_s=0.1)

# Writes NAME.started, becomes ready by writing NAME.ready, says on SIGTERM when it stops.
WELL_BEHAVED = """
import signal, sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), sys.argv[2]
def note(what):
    with (folder / "journal").open("a") as journal:
        journal.write(f"{what} {name}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
print("hello from", name, flush=True)
time.sleep(0.2)
(folder / f"{name}.ready").touch()
note("ready")
while True:
    time.sleep(0.05)
"""


def python(code, *arguments):
    return lambda: tethered([sys.executable, "-I", "-S", "-c", code, *map(str, arguments)])


def well_behaved(folder, name, needs=()):
    async def ready():
        return (folder / f"{name}.ready").exists()

    return Service(name=name, command=python(WELL_BEHAVED, folder, name), ready=ready, needs=needs)


def journal(folder):
    return (folder / "journal").read_text().splitlines()


async def until(condition):
    deadline = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def lines():
    return []


@pytest.fixture
async def supervise(lines):
    made = []

    def make(*services, restarts=QUICK):
        supervisor = Supervisor(
            services, on_line=lambda name, line: lines.append((name, line)), restarts=restarts
        )
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        await supervisor.stop()


async def test_a_service_starts_only_when_what_it_needs_is_ready(tmp_path, supervise):
    supervisor = supervise(
        well_behaved(tmp_path, "c", needs=("b",)),
        well_behaved(tmp_path, "b", needs=("a",)),
        well_behaved(tmp_path, "a"),
    )
    await supervisor.start()
    assert journal(tmp_path) == [
        f"{what} {name}" for name in "abc" for what in ("started", "ready")
    ]
    assert set(supervisor.states().values()) == {State.READY}


async def test_services_stop_before_what_they_need(tmp_path, supervise):
    supervisor = supervise(
        well_behaved(tmp_path, "store"),
        well_behaved(tmp_path, "service", needs=("store",)),
        well_behaved(tmp_path, "user", needs=("service", "store")),
    )
    await supervisor.start()
    pids = supervisor.pids().values()
    await supervisor.stop()
    assert journal(tmp_path)[-3:] == ["stopped user", "stopped service", "stopped store"]
    assert not any(is_alive(pid) for pid in pids)
    assert set(supervisor.states().values()) == {State.STOPPED}


async def test_a_one_shot_is_awaited_before_those_that_need_it(tmp_path, supervise):
    slow = "import sys,time,pathlib; time.sleep(.3); pathlib.Path(sys.argv[1]).touch()"
    check = "import sys,time,pathlib; assert pathlib.Path(sys.argv[1]).exists(); time.sleep(600)"
    done = tmp_path / "done"
    supervisor = supervise(
        Service(name="migrations", command=python(slow, done), one_shot=True),
        Service(name="service", command=python(check, done), needs=("migrations",)),
    )
    await supervisor.start()
    assert supervisor.states() == {"migrations": State.DONE, "service": State.READY}


async def test_a_one_shot_that_fails_is_not_repeated(supervise):
    code = "print('no such table'); raise SystemExit(3)"
    supervisor = supervise(Service(name="migrations", command=python(code), one_shot=True))
    with pytest.raises(ServiceFailedError) as caught:
        await supervisor.start()
    assert caught.value.cause == "ended with status 3"
    assert caught.value.last_lines == ("no such table",)


async def test_a_killed_service_comes_back(tmp_path, supervise):
    supervisor = supervise(well_behaved(tmp_path, "a"))
    await supervisor.start()
    first = supervisor.pids()["a"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: journal(tmp_path).count("ready a") == 2)
    assert supervisor.pids()["a"] != first
    await until(lambda: supervisor.states()["a"] is State.READY)


async def test_a_service_that_keeps_ending_fails_with_its_name_and_last_lines(supervise, lines):
    code = "print('cannot bind'); raise SystemExit(7)"

    async def never():
        return False

    supervisor = supervise(Service(name="ranking", command=python(code), ready=never))
    with pytest.raises(ServiceFailedError) as caught:
        await supervisor.start()
    assert "ranking: ended with status 7 after 2 restarts" in caught.value.detail
    assert "cannot bind" in caught.value.detail
    assert lines.count(("ranking", "cannot bind")) == 3


async def test_a_service_that_fails_later_ends_the_watch(supervise):
    code = "import time; time.sleep(.2); raise SystemExit(1)"
    supervisor = supervise(Service(name="worker", command=python(code)))
    await supervisor.start()
    with pytest.raises(ServiceFailedError, match="worker"):
        await supervisor.watch()


async def test_a_service_that_never_gets_ready_fails_and_is_ended(supervise, tmp_path):
    code = "import os,sys,time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"

    async def never():
        return False

    service = Service(
        name="slow", command=python(code, tmp_path / "pids"), ready=never, ready_within_s=0.5
    )
    with pytest.raises(ServiceFailedError, match=r"slow: not ready after 0\.5 s"):
        await supervise(service, restarts=RestartPolicy(limit=0)).start()
    (pid,) = (tmp_path / "pids").read_text().split()
    assert not is_alive(int(pid))


async def test_a_command_that_does_not_exist_fails_with_its_name(supervise):
    supervisor = supervise(Service(name="ghost", command=lambda: ["/no/such/program"]))
    with pytest.raises(ServiceFailedError, match=r"ghost: .*No such file"):
        await supervisor.start()


async def test_a_service_that_ignores_the_stop_signal_is_killed(supervise):
    code = (
        "import signal,time; signal.signal(15, signal.SIG_IGN);"
        "print('up', flush=True); time.sleep(600)"
    )
    service = Service(name="deaf", command=python(code), stop_within_s=0.3)
    seen = []
    supervisor = Supervisor([service], on_line=lambda name, line: seen.append(line))
    await supervisor.start()
    await until(lambda: seen == ["up"])
    pid = supervisor.pids()["deaf"]
    await supervisor.stop()
    assert not is_alive(pid)


async def test_children_of_a_service_do_not_outlive_it(supervise, lines):
    code = (
        "import subprocess,sys; child = subprocess.Popen(['sleep', '600']);"
        "print(child.pid, flush=True); child.wait()"
    )
    supervisor = supervise(Service(name="parent", command=python(code)), restarts=QUICK)
    await supervisor.start()
    await until(lambda: lines)
    child = int(lines[0][1])
    os.kill(supervisor.pids()["parent"], signal.SIGKILL)
    await until(lambda: not is_alive(child))


async def test_lines_come_with_the_name_of_their_service(tmp_path, supervise, lines):
    await supervise(well_behaved(tmp_path, "a"), well_behaved(tmp_path, "b")).start()
    await until(lambda: len(lines) == 2)
    assert sorted(lines) == [("a", "hello from a"), ("b", "hello from b")]


async def test_a_very_long_line_and_bytes_that_are_no_text_do_not_stop_the_log(supervise, lines):
    code = (
        "import sys,time; out = sys.stdout.buffer; out.write(b'x' * 3_000_000 + b'\\n\\xff\\n');"
        "out.flush(); time.sleep(600)"
    )
    supervisor = supervise(Service(name="chatty", command=python(code)))
    await supervisor.start()
    await until(lambda: lines and lines[-1][1] == "\ufffd")
    assert sum(len(line) for _, line in lines[:-1]) == 3_000_000


def test_needs_that_cannot_be_met_are_refused():
    def service(name, *needs):
        return Service(name=name, command=list, needs=needs)

    with pytest.raises(ValueError, match="a needs b"):
        Supervisor([service("a", "b")], on_line=print)
    with pytest.raises(ValueError, match="circle"):
        Supervisor([service("a", "b"), service("b", "a")], on_line=print)
    with pytest.raises(ValueError, match="same name"):
        Supervisor([service("a"), service("a")], on_line=print)


SUPERVISOR = """
import asyncio, sys
from infra.local.supervisor import Service, Supervisor
from infra.local.tether import tethered

def sleeper():
    return tethered([sys.executable, "-c", "import time; time.sleep(600)"])

async def main():
    services = [Service(name=name, command=sleeper) for name in "abc"]
    supervisor = Supervisor(services, on_line=lambda *_: None)
    await supervisor.start()
    print(*supervisor.pids().values(), flush=True)
    await supervisor.watch()

asyncio.run(main())
"""


async def test_nothing_survives_a_killed_supervisor():
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in supervisor.stdout.readline().split()]
    assert len(pids) == 3
    assert all(is_alive(pid) for pid in pids)
    supervisor.kill()
    supervisor.communicate()
    await until(lambda: not any(is_alive(pid) for pid in pids))
