"""The state folder: who runs a stack over it, and where that stack can be reached."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ConflictError, UnavailableError

CHECKOUT = Path(__file__).resolve().parents[2]


class StackDescription(BaseModel):
    """What `stack.json` says of a stack; `environment` makes a process use it."""

    model_config = ConfigDict(frozen=True)

    pid: int
    ready: bool
    ports: dict[str, int]
    urls: dict[str, str]
    environment: dict[str, str]


@dataclass(frozen=True)
class StateFolder:
    """Everything a stack on this machine keeps: data, logs, its description and its lock."""

    path: Path

    @classmethod
    def default(cls) -> "StateFolder":
        """`.mmesid` in the checkout, or in the working folder where there is no checkout."""
        base = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
        return cls(base / ".mmesid")

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def description_file(self) -> Path:
        return self.path / "stack.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one stack. The lock ends with the process, however it ends.

        Raises:
            ConflictError: a stack runs over the folder.
            UnavailableError: the folder cannot be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UnavailableError(f"state folder {self.path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConflictError(f"a stack runs over {self.path}") from error
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a stack runs over the folder."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnavailableError(f"state folder {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def describe(self, description: StackDescription) -> None:
        """Write `stack.json`, for the owner's eyes only: it holds passwords."""
        part = self.description_file.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(description.model_dump_json(indent=2) + "\n")
        part.replace(self.description_file)

    def forget(self) -> None:
        """Say that the stack is gone; its ports stay written, to be used again."""
        last = self.last_description()
        if last is not None:
            self.describe(last.model_copy(update={"ready": False}))

    def last_description(self) -> StackDescription | None:
        """What the latest stack wrote, whether it still runs or not."""
        try:
            return StackDescription.model_validate_json(self.description_file.read_text())
        except (FileNotFoundError, ValidationError, json.JSONDecodeError):
            return None

    def running(self) -> StackDescription | None:
        """The stack that runs over the folder, if one does and has said where it is."""
        return self.last_description() if self.is_locked() else None

    def last_ports(self) -> Mapping[str, int]:
        last = self.last_description()
        return {} if last is None else last.ports
