"""`python -m infra.local.composed`: docker-compose.yml without Docker, its services as processes.

What the file says of our services is what is run: commands, settings, ports, secrets, users, order,
health checks and ends. Each has an address of its own (127.x.y.z) instead of a network, and folders
of the state folder instead of volumes. Of the servers, the store of bundles (SeaweedFS) runs by the
file's command too; Postgres and Valkey are the embedded ones, with the file's passwords; for Qdrant
tokenization opens the embedded index. Prometheus and Grafana are left out, and nothing is confined
but by its user.
"""

import argparse
import asyncio
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from infra.local.compose_file import ComposeService, resolved, seconds
from infra.local.lifetime import SIGNALS
from infra.local.ports import HOST, choose_port
from infra.local.postgres import PostgresServer
from infra.local.stack import DATABASE, answers, off_the_loop
from infra.local.state import CHECKOUT
from infra.local.supervisor import OnLine, Service, Supervisor
from infra.local.tether import tethered
from infra.local.valkey import ValkeyServer

LEFT_OUT = ("qdrant", "prometheus", "grafana")
EMBEDDED = ("postgres", "valkey")
ITSELF = re.compile(r"\b(?:127\.0\.0\.1|0\.0\.0\.0)\b")
PORT = 8100
CAPABILITIES = "-all,+dac_read_search"


class Composed:
    """The services of a profile over one state folder."""

    def __init__(self, folder: Path, profile: str = "cpu") -> None:
        self.folder = folder.resolve()
        self._compose = resolved(profile)
        block = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
        names = self._compose.services
        self.addresses = {name: f"{block}.{1 + place}" for place, name in enumerate(names)}
        port = choose_port()
        self._postgres = PostgresServer(self.folder / "postgres", port)
        self._valkey = ValkeyServer(self.folder / "valkey", choose_port(taken=frozenset({port})))

    def url(self, service: str) -> str:
        return f"http://{self.addresses[service]}:{PORT}"

    def prepare(self) -> None:
        """Make the passwords and the folders that the processes write to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # the services run as a user of their own
        made = self.folder / "secrets"
        script = CHECKOUT / "infra" / "docker" / "secrets.sh"
        subprocess.run([str(script), str(made)], check=True)
        for server, password in (
            (self._postgres, "postgres_password"),
            (self._valkey, "valkey_password"),
        ):
            server.folder.mkdir(exist_ok=True)
            shutil.copyfile(made / password, server.folder / "password")
            server.prepare()
        self._make_for(self._ours, self._mounted_secrets)
        for name in self._compose.secrets:
            text = self._without_names((made / name).read_text())
            (self._mounted_secrets / name).write_text(text)
        owners = {
            volume.source: service
            for name, service in self._compose.services.items()
            for volume in service.volumes
            if name not in LEFT_OUT
        }
        for name in self._compose.volumes:
            self._make_for(owners.get(name, self._ours), self.folder / "volumes" / name)

    def _make_for(self, service: ComposeService, folder: Path) -> None:
        """A folder for the user of a service and nobody else."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self._can_change_user:
            os.chown(folder, *_user_of(service))

    def services(self) -> list[Service]:
        """Every process, with what it needs to be ready before it."""
        return [
            Service(
                name="postgres",
                command=self._postgres.command,
                ready=off_the_loop(self._postgres_is_ready),
                stop_signal=signal.SIGINT,
            ),
            Service(
                name="valkey",
                command=self._valkey.command,
                ready=off_the_loop(self._valkey.is_ready),
            ),
            *(
                self._service(name, service)
                for name, service in self._compose.services.items()
                if name not in (*LEFT_OUT, *EMBEDDED) and "tools" not in service.profiles
            ),
        ]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run NAME ARGUMENTS`: to its end, and what it wrote."""
        service = self._compose.services[name]
        command = [*(service.entrypoint or ()), *(arguments or service.command or ())]
        return subprocess.run(
            [*self._as_user(service), *self._in_place(name, service, command)],
            capture_output=True,
            text=True,
            check=False,
        )

    def _service(self, name: str, service: ComposeService) -> Service:
        probe = next(re.finditer(r"http://[^'\s]+", " ".join(service.healthcheck.test)), None)
        url = None if probe is None else self._of_its_own(name, probe.group())
        return Service(
            name=name,
            command=lambda: tethered(
                self._in_place(name, service, service.command_line),
                prefix=self._as_user(service),
            ),
            ready=None if url is None else answers(url),
            needs=tuple(need for need in service.depends_on if need not in LEFT_OUT),
            one_shot=name in self._one_shots,
            ready_within_s=max(60.0, seconds(service.healthcheck.start_period)),
            stop_signal=signal.Signals[service.stop_signal],
            stop_within_s=seconds(service.stop_grace_period),
        )

    def _in_place(self, name: str, service: ComposeService, command: Sequence[str]) -> list[str]:
        """The command with the file's environment and no other."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "volumes" / "cache"),
            **{variable: self._here(name, service, value)
               for variable, value in service.environment.items()},
            **self._instead_of_qdrant(service.environment),
        }  # fmt: skip
        return [
            *("env", "-i", f"--chdir={self.folder / 'volumes' / 'cache'}"),
            *(f"{variable}={value}" for variable, value in environment.items()),
            *(self._here(name, service, part) for part in command),
        ]

    def _instead_of_qdrant(self, environment: Mapping[str, str]) -> dict[str, str]:
        if environment.get("MMESID_VECTORS__MODE") != "server":
            return {}
        folder = str(self.folder / "volumes" / "qdrant")
        return {"MMESID_VECTORS__MODE": "embedded", "MMESID_VECTORS__FOLDER": folder}

    def _here(self, name: str, service: ComposeService, value: str) -> str:
        """A value of the file with this machine's folders and addresses."""
        places = {
            **{one.target: str(self._mounted_secrets / one.source) for one in service.secrets},
            **{one.target: str(self.folder / "volumes" / one.source) for one in service.volumes},
        }
        for inside, outside in places.items():
            value = re.sub(rf"(?<![\w/.]){re.escape(inside)}(?=/|$)", outside, value)
        return self._without_names(self._of_its_own(name, value))

    def _of_its_own(self, name: str, value: str) -> str:
        return ITSELF.sub(self.addresses[name], value)

    def _without_names(self, value: str) -> str:
        """Services are known by address here; the embedded servers by port, too."""
        embedded = {"postgres": self._postgres.port, "valkey": self._valkey.port}
        for name, port in embedded.items():
            value = re.sub(rf"(?<=[/@]){name}:\d+", f"{HOST}:{port}", value)
        names = "|".join(re.escape(name) for name in self.addresses)
        return re.sub(rf"(?<=[/@])({names})(?=:)", lambda m: self.addresses[m.group()], value)

    @property
    def _mounted_secrets(self) -> Path:
        return self.folder / "mounted-secrets"

    @cached_property
    def _one_shots(self) -> set[str]:
        return {
            need
            for service in self._compose.services.values()
            for need, dependency in service.depends_on.items()
            if dependency.condition == "service_completed_successfully"
        }

    def _as_user(self, service: ComposeService) -> list[str]:
        """Under the file's user, where this machine lets us."""
        if not self._can_change_user:
            return []
        return _as(*_user_of(service))

    @property
    def _ours(self) -> ComposeService:
        """One of ours: all have the same user."""
        return self._compose.services["gateway"]

    @cached_property
    def _can_change_user(self) -> bool:
        """Only root can, and not in every container."""
        if os.geteuid() != 0:
            return False
        # By way of `env`, as services are: what setpriv itself starts, it starts with more rights.
        check = ["env", sys.executable, "-c", "import infra.local.composed"]
        tried = subprocess.run(
            [*_as(*_user_of(self._ours)), *check], cwd=CHECKOUT, capture_output=True, check=False
        )
        return tried.returncode == 0

    def _postgres_is_ready(self) -> bool:
        if not self._postgres.is_ready():
            return False
        self._postgres.create_database(DATABASE)
        return True


def _user_of(service: ComposeService) -> tuple[int, int]:
    user, _, group = (service.user or "0:0").partition(":")
    return int(user), int(group)


def _as(user: int, group: int) -> list[str]:
    """Without any right of root's but that to read: Python and the checkout may lie in a folder
    that is closed to others."""
    return [
        *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
        *(f"--{kind}={CAPABILITIES}" for kind in ("bounding-set", "inh-caps", "ambient-caps")),
        "--",
    ]


async def run_until_signalled(composed: Composed, on_line: OnLine) -> None:
    """Start everything, say where the API is, stop on the first signal.

    Raises:
        ServiceFailedError: a service cannot be kept running; everything has been stopped.
    """
    composed.prepare()
    supervisor = Supervisor(composed.services(), on_line=on_line)
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def run() -> None:
        await supervisor.start()
        print(f"The API is at {composed.url('gateway')}", flush=True)
        await supervisor.watch()

    running, stopped = asyncio.create_task(run()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        running.cancel()
        stopped.cancel()
        await supervisor.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.local.composed", description=__doc__)
    parser.add_argument("--state", type=Path, default=CHECKOUT / ".mmesid" / "composed")
    folder = parser.parse_args().state
    asyncio.run(
        run_until_signalled(
            Composed(folder), on_line=lambda name, line: print(f"{name:<14} {line}", flush=True)
        )
    )


if __name__ == "__main__":
    main()
