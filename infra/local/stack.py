"""The processes of the platform on one machine, and the settings that join them."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import httpx

from infra.local.ports import HOST, choose_port
from infra.local.postgres import PostgresServer
from infra.local.state import StackDescription, StateFolder
from infra.local.supervisor import Service
from infra.local.tether import tethered
from infra.local.valkey import ValkeyServer

DATABASE = "mmesid"
TRAINING_NICE = 10
# A large model takes minutes to load; a process that ends is noticed at once all the same.
READY_WITHIN_S = 600.0
MODEL_SERVICES = ("embedding", "tokenization", "ranking")
PREFERRED_PORTS = {
    "gateway": 8100,
    "embedding": 8101,
    "tokenization": 8102,
    "ranking": 8103,
    "postgres": 5432,
    "valkey": 6379,
}


@dataclass(frozen=True)
class Threads:
    """How many threads the model code of a process may use.

    Serving gets half of the cores a process. Training leaves one to serving, and runs at a lower
    priority besides: threads that wait for a core in turn are slower than fewer threads.
    """

    serving: int
    training: int

    @classmethod
    def of_cores(cls, cores: int) -> "Threads":
        return cls(serving=max(1, cores // 2), training=max(1, cores - 1))


def choose_ports(last: Mapping[str, int]) -> dict[str, int]:
    """A free port a server: the one of the last run, else the usual one, else any."""
    ports: dict[str, int] = {}
    for name, usual in PREFERRED_PORTS.items():
        ports[name] = choose_port(last.get(name, usual), taken=frozenset(ports.values()))
    return ports


class Stack:
    """Postgres, Valkey, the migrations and every service over one state folder."""

    def __init__(
        self,
        state: StateFolder,
        ports: Mapping[str, int],
        threads: Threads,
        *,
        engine: str | None = None,
    ) -> None:
        """engine: what ranks; None leaves it to the environment."""
        self.state = state
        self._ranking = {} if engine is None else {"MMESID_RANKING__ENGINE": str(engine)}
        self.ports = dict(ports)
        self._threads = threads
        self.postgres = PostgresServer(state.path / "postgres", ports["postgres"])
        self.valkey = ValkeyServer(state.path / "valkey", ports["valkey"])

    @classmethod
    def over(cls, state: StateFolder, *, engine: str | None = None) -> "Stack":
        """A stack on free ports, for all cores of this machine."""
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        ports = choose_ports(state.last_ports())
        return cls(state, ports, Threads.of_cores(cores), engine=engine)

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports[service]}"

    @cached_property
    def environment(self) -> dict[str, str]:
        """The settings that all processes share. Known once both servers are prepared."""
        path = self.state.path.resolve()
        return {
            "MMESID_DATABASE__URL": self.postgres.url(DATABASE),
            "MMESID_REDIS__URL": self.valkey.url(),
            "MMESID_ARTIFACTS__URL": str(path / "artifacts"),
            "MMESID_ARTIFACTS__CACHE": str(path / "cache"),
            "MMESID_RANKING__CACHE": str(path / "cache" / "base-models"),
            "MMESID_VECTORS__FOLDER": str(path / "qdrant"),
            "MMESID_RANKING__CANDIDATES__FOLDER": str(path / "candidates"),
            **{f"MMESID_SERVICES__{name.upper()}": self.url(name) for name in MODEL_SERVICES},
        }

    def prepare(self) -> None:
        """Make the servers' folders and passwords, so that `environment` is known."""
        self.postgres.prepare()
        self.valkey.prepare()

    def description(self, *, ready: bool) -> StackDescription:
        gateway = self.url("gateway")
        return StackDescription(
            pid=os.getpid(),
            ready=ready,
            ports=self.ports,
            urls={
                "API": gateway,
                "API reference": f"{gateway}/docs",
                **{name: self.url(name) for name in MODEL_SERVICES},
            },
            environment=self.environment,
        )

    def services(self) -> list[Service]:
        """Every process, with what it needs to be ready before it."""
        stores = ("migrations", "valkey")
        return [
            Service(
                name="postgres",
                prepare=self.postgres.prepare,
                command=self.postgres.command,
                ready=off_the_loop(self._postgres_is_ready),
                stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
            ),
            Service(
                name="valkey",
                prepare=self.valkey.prepare,
                command=self.valkey.command,
                ready=off_the_loop(self.valkey.is_ready),
            ),
            Service(
                name="migrations",
                command=_python_module("infra.migrations.upgrade"),
                environment=self._environment_of(),
                needs=("postgres",),
                one_shot=True,
            ),
            self._http_service("embedding", self._threads.serving, stores),
            self._http_service("tokenization", self._threads.serving, stores),
            self._http_service("ranking", self._threads.serving, stores, **self._ranking),
            self._http_service("gateway", 1, stores),
            Service(
                name="worker",
                command=_python_module("services.training", "worker", nice=TRAINING_NICE),
                environment=self._environment_of(threads=self._threads.training),
                needs=stores,
                # Celery then drops its task; whoever takes it up goes on at its last stage.
                stop_signal=signal.SIGQUIT,
                stop_within_s=5.0,
            ),
            Service(
                name="relay",
                command=_python_module("services.training", "relay"),
                environment=self._environment_of(),
                needs=stores,
            ),
        ]

    def _postgres_is_ready(self) -> bool:
        if not self.postgres.is_ready():
            return False
        self.postgres.create_database(DATABASE)
        return True

    def _http_service(
        self, name: str, threads: int, needs: tuple[str, ...], **settings: str
    ) -> Service:
        return Service(
            name=name,
            command=_python_module(f"services.{name}"),
            environment=self._environment_of(
                threads=threads,
                MMESID_SERVER__HOST=HOST,
                MMESID_SERVER__PORT=str(self.ports[name]),
                **settings,
            ),
            needs=needs,
            ready=answers(f"{self.url(name)}/health/ready"),
            ready_within_s=READY_WITHIN_S,
        )

    def _environment_of(self, *, threads: int = 1, **settings: str) -> dict[str, str]:
        """What the user set for logs and threads wins over what is chosen here."""
        choices = {
            "OMP_NUM_THREADS": str(threads),
            "MMESID_LOG_FORMAT": "console",
            "MMESID_ENCODERS__THREADS": str(threads),
            "MMESID_RANKING__THREADS": str(threads),
            "MMESID_TRAINING__THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
        chosen = {name: value for name, value in choices.items() if name not in os.environ}
        return {**chosen, **self.environment, **settings}


def _python_module(module: str, *arguments: str, nice: int = 0) -> Callable[[], Sequence[str]]:
    """The command of a module of this project. -P: no folder of the caller's shadows ours."""
    return lambda: tethered([sys.executable, "-P", "-m", module, *arguments], nice=nice)


def off_the_loop(probe: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    return lambda: asyncio.to_thread(probe)


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Whether a GET of the URL is answered with a success."""

    async def probe() -> bool:
        # verify: there is no TLS here, and reading the certificates takes longer than the answer
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5.0) as client:
            try:
                return (await client.get(url)).is_success
            except httpx.HTTPError:
                return False

    return probe
