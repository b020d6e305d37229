"""A platform for the end-to-end tests: started once, filled with a small shop, trained once.

It ranks with vLLM. `E2E_ENGINE=transformers` runs the same tests where vLLM cannot be installed.
"""

import asyncio
import base64
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.importing import import_dataset
from infra.local.state import StateFolder
from shared.data.synthetic import SyntheticShop
from shared.database.session import Database
from shared.settings import Settings

ENGINE = os.environ.get("E2E_ENGINE", "vllm")
SHOP = SyntheticShop(seed=1, items=240, users=400)
# Small enough for a minute of training; what is asserted does not depend on the quality.
TRAINING: dict[str, Any] = {
    "collaborative": {"epochs": 3},
    "quantizer": {"epochs": 10},
    "ranker": {"epochs": 1},
}


@dataclass(frozen=True)
class Platform:
    """pid: of the supervisor. engine: what ranks."""

    folder: Path
    pid: int
    engine: str
    gateway_url: str
    api_key: str
    number_of_items: int
    training_request: dict[str, Any]

    def engine_processes(self) -> list[int]:
        """The ids of vLLM's processes, one for each bundle that the ranking service holds."""
        services = descendants(self.pid).items()
        (ranking,) = (pid for pid, line in services if "-m services.ranking" in line)
        return [pid for pid, line in descendants(ranking).items() if "EngineCore" in line]

    def status(self) -> str:
        """What the command line says of it."""
        return mmesid("status", "--state", str(self.folder))


def descendants(pid: int) -> dict[int, str]:
    """All that a process started, directly or not, that runs: process id -> its command line."""
    children: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if status[0] != "Z":
            children.setdefault(int(status[1]), []).append(int(folder.name))
            lines[int(folder.name)] = line
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found[child] = lines[child]
            waiting.append(child)
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def mmesid(*arguments: str) -> str:
    """Run a command of the platform's command line, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def import_shop(environment: dict[str, str]) -> None:
    """The settings come from the running stack, without touching this process's own."""

    async def run() -> None:
        settings = Settings(
            database={"url": environment["MMESID_DATABASE__URL"]},
            artifacts={"url": environment["MMESID_ARTIFACTS__URL"]},
        )
        database = Database(settings.database)
        try:
            await import_dataset(
                SHOP,
                catalog_id="default",
                database=database,
                settings=settings,
                on_progress=lambda _: None,
            )
        finally:
            await database.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def train(gateway_url: str, api_key: str) -> None:
    with httpx.Client(
        base_url=gateway_url, headers={"authorization": f"Bearer {api_key}"}, timeout=30
    ) as client:
        run_id = client.post("/v1/admin/trainings", json=TRAINING).json()["run_id"]
        state = {"state": "queued"}
        deadline = time.monotonic() + 900
        while state["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, state
            time.sleep(0.5)
            state = client.get(f"/v1/admin/trainings/{run_id}").json()
        assert state["state"] == "succeeded", state


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The whole stack as processes, with a live bundle over a small made-up shop."""
    folder: Path = tmp_path_factory.mktemp("platform")
    mmesid("up", "--detach", "--engine", ENGINE, "--state", str(folder))
    processes: dict[int, str] = {}
    try:
        running = StateFolder(folder).running()
        assert running is not None
        import_shop(running.environment)
        scopes = [f"--scope={scope}" for scope in ("read", "write", "admin")]
        key = mmesid("keys", "create", "--name=tests", *scopes, f"--state={folder}").strip()
        gateway_url = f"http://127.0.0.1:{running.ports['gateway']}"
        train(gateway_url, key)
        yield Platform(folder, running.pid, ENGINE, gateway_url, key, 240, TRAINING)
        processes = descendants(running.pid)
    finally:
        mmesid("down", "--state", str(folder))
        for log in sorted((folder / "logs").glob("*")) if os.environ.get("CI") else ():
            print(f"== {log.name}\n" + log.read_text(errors="replace")[-2000:])
    assert [line for pid, line in processes.items() if is_running(pid)] == []


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=platform.gateway_url,
        headers={"authorization": f"Bearer {platform.api_key}"},
        timeout=60,
    ) as client:
        yield client


@pytest.fixture
async def known_items(api: httpx.AsyncClient) -> list[str]:
    page = (await api.get("/v1/items", params={"limit": 100, "status": "ready"})).json()
    return [item["item_id"] for item in page["items"]]


@pytest.fixture
def held_out_item() -> dict[str, Any]:
    """A new item of the shop, with an image, as it is posted."""
    record = SHOP.held_out_item()
    image = record.read_image()
    assert image is not None
    return {
        "item_id": record.item_id,
        "title": record.title,
        "description": record.description,
        "categories": list(record.categories),
        "brand": record.brand,
        "attributes": dict(record.attributes),
        "image_base64": base64.b64encode(image).decode(),
    }
