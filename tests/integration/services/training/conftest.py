"""A small shop in the database, and stand-ins for the other services at the HTTP boundary."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

from infra.local.ports import choose_port
from services.training.resources import Resources, open_resources
from shared.artifacts.images import ImageStore
from shared.contracts.common import BundleReference, BundleStatus, Problem
from shared.contracts.embedding import EmbedOutput, EmbedRequest, EmbedResponse, Encoder, Encoders
from shared.contracts.empty import Done
from shared.contracts.ranking import (
    RankedItem,
    RankRequest,
    RankResponse,
    Source,
    UpsertItemsRequest,
)
from shared.contracts.tokenization import (
    IndexRequest,
    TokenizedItem,
    TokenizeRequest,
    TokenizeResponse,
)
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository, NewItem
from shared.database.tables import TrainingRunRow
from shared.database.training_runs import TrainingRunRepository
from shared.errors import BrokenImageError, UnavailableError
from shared.http import PROBLEM_JSON
from shared.ingestion.item_content import item_content
from shared.modeling.modality import Modality
from shared.settings import Settings

REPOSITORY = Path(__file__).parents[4]
CATALOG = "shop"
ITEMS = 40
USERS = 60
TOPICS = 4
BROKEN_IMAGE = b"not an image"

TINY = {
    "go_live": True,
    "collaborative": {"dimension": 8, "feedforward": 8, "blocks": 1, "epochs": 2},
    "quantizer": {"hidden": 8, "epochs": 2, "codebook_size": 4},
    "ranker": {
        "epochs": 2,
        "checkpoint_every": 1,
        "tiny": {"hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 1},
    },
}


@dataclass
class StandIns:
    """Stand-ins for the embedding, tokenization and ranking services: same contracts, no models.

    Vectors are drawn by the hash of what is embedded. What was asked of them is kept.

    text_revision: the text encoder's; another one has vectors of another length.
    held_after: when so many inputs were embedded, others wait, and are refused once `released`.
    """

    url: str
    down: set[str] = field(default_factory=set)
    embedded: list[str | None] = field(default_factory=list)
    loaded: list[tuple[str, str]] = field(default_factory=list)
    activated: list[tuple[str, str]] = field(default_factory=list)
    indexed: list[str] = field(default_factory=list)
    rankable: list[str] = field(default_factory=list)
    ranked: list[RankRequest] = field(default_factory=list)
    tokenized: list[TokenizeRequest] = field(default_factory=list)
    ranks_by: Source = "ranker"
    text_revision: str = "text-1"
    held_after: int | None = None
    released: threading.Event = field(default_factory=threading.Event)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.mount("/embedding", self._embedding())
        for service in ("tokenization", "ranking"):
            app.mount(f"/{service}", self._bundle_service(service))
        return app

    def _embedding(self) -> FastAPI:
        app = self._service("embedding")

        @app.get("/encoders")
        def encoders() -> Encoders:
            return Encoders(
                text=Encoder(
                    source="stand-in",
                    revision=self.text_revision,
                    dimension=self._text_dimension,
                ),
                image=Encoder(source="stand-in", revision="image-1", dimension=10),
            )

        @app.post("/embed")
        def embed(request: EmbedRequest) -> EmbedResponse:
            if self.held_after is not None and len(self.embedded) >= self.held_after:
                self.released.wait()
                self.held_after = None
                raise HTTPException(503)
            return EmbedResponse(
                outputs=[self._output(sent) for sent in request.inputs],
                text_revision=self.text_revision,
                image_revision="image-1",
            )

        return app

    @property
    def _text_dimension(self) -> int:
        return 12 if self.text_revision == "text-1" else 14

    def _output(self, sent) -> EmbedOutput:
        self.embedded.append(sent.text)
        image = sent.image_base64
        if image is not None and "bm90IGFuIGltYWdl" in image:
            problem = Problem(**BrokenImageError.of("image", "cannot be decoded").problem())
            return EmbedOutput(problem=problem)
        return EmbedOutput(
            text=None if sent.text is None else drawn_vector(sent.text, self._text_dimension),
            visual=None if image is None else drawn_vector(image, 10),
        )

    def _bundle_service(self, name: str) -> FastAPI:
        app = self._service(name)

        @app.post("/bundles/load")
        def load(bundle: BundleReference) -> BundleStatus:
            self.loaded.append((name, bundle.version))
            return self._status(bundle)

        @app.post("/bundles/activate")
        def activate(bundle: BundleReference) -> BundleStatus:
            self.activated.append((name, bundle.version))
            return self._status(bundle)

        if name == "tokenization":

            @app.post("/tokenize")
            def tokenize(request: TokenizeRequest) -> TokenizeResponse:
                self.tokenized.append(request)
                return TokenizeResponse(
                    bundle=request.bundle,
                    items=[
                        TokenizedItem(
                            item_id=item.item_id,
                            codes={j: [0, 1, 2, 3] for j in Modality},
                            imputed={j: [0.5] * 8 for j in Modality if j not in item.vectors},
                            neighbours=[],
                        )
                        for item in request.items
                    ],
                )

            @app.put("/items")
            def index(request: IndexRequest) -> Done:
                self.indexed += [item.item_id for item in request.items]
                return Done()

        else:

            @app.post("/rank")
            def rank(request: RankRequest) -> RankResponse:
                self.ranked.append(request)
                return self._answer(request)

            @app.put("/items")
            def upsert(request: UpsertItemsRequest) -> Done:
                self.rankable += [item.item_id for item in request.items]
                return Done()

        @app.delete("/items/{item_id}")
        def remove(item_id: str) -> Done:
            return Done()

        return app

    def _service(self, name: str) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def unless_down(request, call_next):
            if name in self.down:
                problem = UnavailableError(f"the stand-in for {name} is down").problem()
                return JSONResponse(problem, 503, media_type=PROBLEM_JSON)
            return await call_next(request)

        return app

    def _answer(self, request: RankRequest) -> RankResponse:
        """Scores are drawn by the history and the item."""
        new = [item for item in (f"item-{n}" for n in range(ITEMS)) if item not in request.history]
        score = {item: drawn_vector(f"{request.history} {item}", 2)[0] for item in new}
        best = sorted(new, key=score.__getitem__, reverse=True)[: request.k]
        return RankResponse(
            bundle=request.bundle,
            engine="stand-in",
            source=self.ranks_by,
            items=[RankedItem(item_id=i, score=score[i], shares=None) for i in best],
            unknown_items=[],
        )

    def _status(self, bundle: BundleReference) -> BundleStatus:
        return BundleStatus(
            catalog_id=bundle.catalog_id, active=None, loaded=[bundle.version], items=ITEMS
        )


def drawn_vector(content: str, dimension: int) -> list[float]:
    seed = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).tolist()


@pytest.fixture(scope="session")
def stand_in_server() -> Iterator[StandIns]:
    port = choose_port()
    stand_ins = StandIns(f"http://127.0.0.1:{port}")
    server = uvicorn.Server(
        uvicorn.Config(stand_ins.app(), host="127.0.0.1", port=port, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield stand_ins
    server.should_exit = True
    thread.join()


@pytest.fixture
def stand_ins(stand_in_server: StandIns) -> Iterator[StandIns]:
    for calls in (
        stand_in_server.embedded,
        stand_in_server.loaded,
        stand_in_server.activated,
        stand_in_server.indexed,
        stand_in_server.rankable,
        stand_in_server.ranked,
        stand_in_server.tokenized,
    ):
        calls.clear()
    stand_in_server.down.clear()
    stand_in_server.ranks_by = "ranker"
    stand_in_server.text_revision = "text-1"
    stand_in_server.held_after = None
    stand_in_server.released.clear()
    yield stand_in_server
    stand_in_server.released.set()


@pytest.fixture
def settings(make_settings, stand_ins: StandIns) -> Settings:
    return make_settings(
        catalogs=(CATALOG,),
        services={
            name: f"{stand_ins.url}/{name}" for name in ("embedding", "tokenization", "ranking")
        },
        training={"device": "cpu", "threads": 1, "lease_s": 20.0, "embed_batch": 16},
        relay={"interval_s": 0.05, "first_retry_s": 0.1, "max_retry_s": 0.2},
    )


@pytest_asyncio.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings) as resources:
        yield resources


@dataclass(frozen=True)
class Shop:
    """40 items of four topics and 60 users that keep to one. item-38 and item-39 are cold, item-1
    has no image, item-2 a broken one."""

    resources: Resources

    async def fill(self, *, with_images: bool = True) -> None:
        images = ImageStore(self.resources.store, CATALOG)
        generator = np.random.default_rng(0)
        async with self.resources.database.transaction() as session:
            await ItemRepository(session, CATALOG).insert_many(
                [
                    NewItem(f"item-{n}", self._content(n, images if with_images else None))
                    for n in range(ITEMS)
                ],
                relay_after=timedelta(0),
            )
            events = [
                NewInteraction(f"user-{user}", f"item-{item}", "view", _at(user, place))
                for user in range(USERS)
                for place, item in enumerate(self._history(user, generator))
            ]
            events.append(NewInteraction("user-0", "no-such-item", "view", _at(0, 99)))
            events.append(NewInteraction("one-timer", "item-3", "view", _at(0, 0)))
            await InteractionRepository(session, CATALOG).add(events)

    def _content(self, n: int, images: ImageStore | None):
        image = None
        if images is not None and n != 1:
            data = BROKEN_IMAGE if n == 2 else f"picture {n}".encode()
            image = images.put(data)
        return item_content(title=f"Item {n} of topic {n % TOPICS}", image_sha256=image)

    def _history(self, user: int, generator: np.random.Generator) -> list[int]:
        topic = [n for n in range(ITEMS - 2) if n % TOPICS == user % TOPICS]
        return generator.choice(topic, 6, replace=False).tolist()

    async def add_item(self, item_id: str, title: str) -> None:
        async with self.resources.database.transaction() as session:
            await ItemRepository(session, CATALOG).insert(
                NewItem(item_id, item_content(title=title)), relay_after=timedelta(0)
            )

    async def queue_run(self, **changes) -> UUID:
        async with self.resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            return (await runs.add(CATALOG, {**TINY, **changes})).run_id

    async def retry(self, former: TrainingRunRow) -> UUID:
        async with self.resources.database.transaction() as session:
            runs = TrainingRunRepository(session)
            row = await runs.add(CATALOG, former.request, trigger="retry", retry_of=former)
            return row.run_id

    async def training(self, run_id: UUID) -> TrainingRunRow:
        async with self.resources.database.transaction() as session:
            return await TrainingRunRepository(session).get(run_id)


def _at(user: int, place: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=user, minutes=place)


@pytest_asyncio.fixture
async def shop(resources: Resources) -> Shop:
    shop = Shop(resources)
    await shop.fill()
    return shop


@pytest_asyncio.fixture
async def shop_without_images(resources: Resources) -> Shop:
    shop = Shop(resources)
    await shop.fill(with_images=False)
    return shop


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The same settings for a process of its own."""
    sections = {
        "database": settings.database,
        "redis": settings.redis,
        "artifacts": settings.artifacts,
        "services": settings.services,
        "training": settings.training,
        "relay": settings.relay,
    }
    variables = {
        f"MMESID_{section}__{name}".upper(): str(value)
        for section, values in sections.items()
        for name, value in values.model_dump(exclude_none=True).items()
    }
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


@pytest.fixture
def training_process(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `python -m services.training <role> ...`, in a process group of its own."""
    processes: list[subprocess.Popen] = []

    def start(role: str, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.training", role, *arguments],
            env=environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        kill_group(process)


@pytest.fixture
def crash() -> Callable[[subprocess.Popen], None]:
    return kill_group


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process and its children as a crash would: nothing gets to clean up."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Waits for something that another process does."""

    async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(180):
            while not await condition():
                await asyncio.sleep(0.05)

    return wait_for
