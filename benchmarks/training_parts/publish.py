"""What it costs to publish a bundle: the last stage of a training run, over real servers.

Postgres and Valkey run from the embedded packages, tokenization (with the embedded vector store)
and ranking as processes of their own, as in `./mmesid up`. The items are as an import leaves them:
pending, each with a row in the outbox. Nothing is faked but what the stages before would have made.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from benchmarks.training_parts.cpu import family_cpu_seconds
from benchmarks.training_parts.made_up_run import ENCODERS, made_up_snapshot, write_stages
from infra.local.ports import HOST, choose_port
from infra.local.postgres import PostgresServer
from infra.local.running import running
from infra.local.tether import tethered
from infra.local.valkey import ValkeyServer
from infra.migrations.upgrade import upgrade
from services.training.configs import configs_of
from services.training.content_embedding import item_vectors
from services.training.context import StageContext
from services.training.lease import lease_of_run
from services.training.progress_board import ProgressBoard
from services.training.resources import Resources, open_resources
from services.training.stages import publish
from services.training.stages.snapshot import Snapshot
from services.training.work_folder import WorkFolder
from shared.contracts.admin import TrainingCreate
from shared.database.bundles import BundleRepository
from shared.database.embeddings import EmbeddingRepository
from shared.database.tables import TrainingRunRow
from shared.database.training_runs import TrainingRunRepository
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress
from shared.settings import Settings

CATALOG, DATABASE = "default", "benchmark"
EMBEDDINGS = "embeddings"
STARTED_WITHIN_S = 300.0
SERVED_BY = ("tokenization", "ranking")

FILL = (
    """
    INSERT INTO items (catalog_id, item_id, version, content_hash, status, title, description,
                       categories, attributes)
    SELECT :catalog, 'item-' || lpad(n::text, 7, '0'), 1, n::text, 'pending', 'Item ' || n, '',
           ARRAY['Kind ' || n % 50], '{}'
    FROM generate_series(0, :items - 1) AS n
    """,
    """
    INSERT INTO outbox (catalog_id, item_id, item_version, action, next_attempt_at)
    SELECT catalog_id, item_id, version, 'upsert', now() FROM items WHERE catalog_id = :catalog
    """,
)


@dataclass(frozen=True)
class Published:
    """seconds, cpu_seconds: by step; of all processes together. `embeddings` is E_t and E_v into
    Postgres, which the embed stage does; the others are the steps of the publish stage.

    floats: of an item's vectors. index_mb: of the vector store's folder.
    """

    items: int
    floats: int
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    index_mb: float


def measure_publish(items: int, widths: Mapping[Modality, int], *, threads: int = 1) -> Published:
    """Publish a made-up bundle of so many items into stores that are empty otherwise."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmesid-benchmark-")))
        postgres = PostgresServer(folder / "postgres", choose_port())
        valkey = ValkeyServer(folder / "valkey", choose_port())
        stack.enter_context(running(postgres))
        stack.enter_context(running(valkey))
        postgres.create_database(DATABASE)
        upgrade(postgres.url(DATABASE))
        sections = _sections(folder, postgres, valkey, threads)
        for name in SERVED_BY:
            stack.enter_context(_service(name, sections, folder / f"{name}.log"))
        clock = asyncio.run(_publish(items, widths, Settings(**sections)))
        return Published(
            items=items,
            floats=sum(widths.values()),
            seconds=clock.seconds,
            cpu_seconds=clock.cpu_seconds,
            index_mb=_megabytes(folder / "qdrant"),
        )


def _sections(
    folder: Path, postgres: PostgresServer, valkey: ValkeyServer, threads: int
) -> dict[str, Any]:
    taken: list[int] = []
    for _ in SERVED_BY:
        taken.append(choose_port(taken=frozenset(taken)))
    return {
        "database": {"url": postgres.url(DATABASE)},
        "redis": {"url": valkey.url()},
        "artifacts": {"url": str(folder / "artifacts"), "cache": str(folder / "cache")},
        "vectors": {"folder": str(folder / "qdrant")},
        "ranking": {"engine": "transformers", "device": "cpu", "threads": threads},
        "training": {"device": "cpu", "threads": threads},
        "services": {
            name: f"http://{HOST}:{port}" for name, port in zip(SERVED_BY, taken, strict=True)
        },
    }


@contextmanager
def _service(name: str, sections: Mapping[str, Mapping[str, Any]], log: Path) -> Iterator[None]:
    """`python -m services.<name>`, from its first answer to the end of the block."""
    url = httpx.URL(sections["services"][name])
    environment = {
        f"MMESID_{section}__{key}".upper(): str(value)
        for section, values in {**sections, "server": {"host": url.host, "port": url.port}}.items()
        for key, value in values.items()
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered([sys.executable, "-P", "-m", f"services.{name}"]),
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            _await_answer(process, f"{url}/health/live", log)
            yield
        finally:
            process.terminate()
            process.wait()


def _await_answer(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    give_up = time.monotonic() + STARTED_WITHIN_S
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < give_up and process.poll() is None:
            try:
                client.get(url).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")


async def _publish(items: int, widths: Mapping[Modality, int], settings: Settings) -> "_StepClock":
    data = made_up_snapshot(items)
    async with open_resources(settings) as resources:
        row = await _run_over(items, resources)
        work = WorkFolder(resources.store, CATALOG, row.run_id)
        tables = await asyncio.to_thread(write_stages, work, data, widths)
        clock = _StepClock()
        await _store_embeddings(resources, data, tables)
        clock.note(EMBEDDINGS)
        del tables
        await _publish_stage(resources, row, work, clock)
    return clock


async def _run_over(items: int, resources: Resources) -> TrainingRunRow:
    """A run that is ours, of a catalogue with so many items."""
    async with resources.database.transaction() as session:
        for statement in FILL:
            await session.execute(text(statement), {"catalog": CATALOG, "items": items})
        runs = TrainingRunRepository(session)
        queued = await runs.add(CATALOG, TrainingCreate().model_dump(mode="json"))
        lease = timedelta(seconds=resources.settings.training.lease_s)
        row = await runs.acquire(queued.run_id, lease=lease)
    assert row is not None
    return row


async def _store_embeddings(resources: Resources, data: Snapshot, tables: ItemTables) -> None:
    """Batch by batch, as the embed stage does."""
    batch = resources.settings.training.embed_batch
    for start in range(0, len(data.items), batch):
        rows = range(start, min(start + batch, len(data.items)))
        made = {row: {j: tables.embeddings[j][row] for j in ENCODERS} for row in rows}
        async with resources.database.transaction() as session:
            await EmbeddingRepository(session, CATALOG).put(
                item_vectors(data.items, ENCODERS, made)
            )


async def _publish_stage(
    resources: Resources, row: TrainingRunRow, work: WorkFolder, clock: "_StepClock"
) -> None:
    request, board = TrainingCreate(), ProgressBoard()
    settings = resources.settings.training
    lease = lease_of_run(resources.database, row.run_id, row.lease_token, settings.lease_s, board)

    def report(progress: Progress) -> None:
        lease.check()
        clock.note(publish.STEPS[progress.done - 1])

    context = StageContext(
        catalog_id=CATALOG,
        run_id=row.run_id,
        version="benchmark",
        request=request,
        configs=configs_of(request, settings),
        resources=resources,
        lease=lease,
        work=work,
        report=report,
    )
    await lease.confirm()
    async with lease.kept():
        clock.start()
        await publish.run(context, work.begin(publish.NAME))
    async with resources.database.transaction() as session:
        live = await BundleRepository(session, CATALOG).live()
        left = (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one()
    if live is None or left:
        raise RuntimeError(f"the bundle is not live, or {left} items still wait")


class _StepClock:
    """Seconds and CPU seconds by step, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._began, self._computed = time.perf_counter(), family_cpu_seconds()

    def note(self, step: str) -> None:
        self.seconds[step] = time.perf_counter() - self._began
        self.cpu_seconds[step] = family_cpu_seconds() - self._computed
        spent = f"{self.seconds[step]:.1f} s, {self.cpu_seconds[step]:.1f} CPU s"
        print(f"  {step}: {spent}", file=sys.stderr, flush=True)
        self.start()


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
