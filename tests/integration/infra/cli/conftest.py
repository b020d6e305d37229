"""A state folder over which a real gateway serves, and commands that find it there."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.local.state import StackDescription, StateFolder
from services.gateway.app import create_app
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository, NewItem
from shared.database.session import Database
from shared.database.training_log import NewLogLine, TrainingLogRepository
from shared.database.training_runs import TrainingRunRepository
from shared.ingestion.item_content import item_content
from shared.settings import load_settings

CATALOG = "default"
LEASE = timedelta(minutes=1)


@dataclass
class Stack:
    """What the commands meet: a state folder, a gateway, a database."""

    folder: Path
    database: Database

    async def run(self, *arguments: object, standard_input: bytes | None = None) -> Result:
        """A command, in a thread: the gateway serves in this one."""
        command = [*map(str, arguments), "--state", str(self.folder)]
        runner = CliRunner(env={"COLUMNS": "200"})
        return await asyncio.to_thread(runner.invoke, app, command, input=standard_input)

    async def publish(self, version: str, *, ndcg: float, failed_gate: str | None = None) -> None:
        gates = [{"name": "health", "passed": True, "explanation": "all well", "figures": {}}]
        if failed_gate is not None:
            gate = {"name": failed_gate, "passed": False, "explanation": "too bad", "figures": {}}
            gates.append(gate)
        manifest = {
            "encoders": {"text": "text-encoder@1", "visual": "image-encoder@1"},
            "dataset": {"items": 2},
            "metrics": {"ranker": {"masked": {"ndcg@10": ndcg}}, "gates": gates},
        }
        async with self.database.transaction() as session:
            await BundleRepository(session, CATALOG).add(version, manifest, run_id=None)

    async def go_live(self, version: str) -> None:
        async with self.database.transaction() as session:
            await BundleRepository(session, CATALOG).make_live(version)

    async def add_items(self, *item_ids: str) -> None:
        async with self.database.transaction() as session:
            await ItemRepository(session, CATALOG).insert_many(
                [NewItem(item_id, item_content(title=item_id)) for item_id in item_ids],
                relay_after=timedelta(0),
            )


class Worker:
    """What a worker writes about the newest run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.run_id: UUID | None = None
        self.stages = [{"stage": "embed", "done": 5, "total": 10, "metrics": {"items": 1200.0}}]

    async def take_up(self) -> None:
        """Wait for a queued run, and begin it."""
        while self.run_id is None:
            async with self._database.transaction() as session:
                runs = TrainingRunRepository(session)
                for row in await runs.newest(CATALOG, limit=1, state="queued"):
                    self.run_id = row.run_id
                    await runs.acquire(row.run_id, lease=LEASE)
                    await runs.heartbeat(row.run_id, 1, lease=LEASE, stages=self.stages)
            await asyncio.sleep(0.02)

    async def log(self, event: str, **fields: object) -> None:
        line = NewLogLine(datetime.now(UTC), "info", event, fields)
        async with self._database.transaction() as session:
            await TrainingLogRepository(session, self.run_id).add([line])

    async def finish(self, state: str, **result: object) -> None:
        async with self._database.transaction() as session:
            await TrainingRunRepository(session).finish(
                self.run_id, 1, state=state, stages=self.stages, **result
            )


@pytest.fixture
async def stack(make_settings, stand_ins, serve, tmp_path, monkeypatch) -> AsyncIterator[Stack]:
    settings = make_settings(services={**stand_ins.urls, "timeout_s": 5.0})
    environment = {"MMESID_DATABASE__URL": settings.database.url}
    # The commands set it for their process, which is ours here.
    monkeypatch.setenv("MMESID_DATABASE__URL", settings.database.url)
    load_settings.cache_clear()
    folder = StateFolder(tmp_path / "state")
    database = Database(settings.database)
    async with serve(create_app(settings)) as url:
        with folder.locked():
            folder.describe(
                StackDescription(
                    pid=1, ready=True, ports={}, urls={"API": url}, environment=environment
                )
            )
            yield Stack(folder.path, database)
    await database.close()
    load_settings.cache_clear()


@pytest.fixture
def worker(stack) -> Worker:
    return Worker(stack.database)
