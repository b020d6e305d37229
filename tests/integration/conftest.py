"""Stand-ins for the services behind the gateway and the relay.

They obey the contracts over real HTTP and keep what they are told; their vectors, codes and ranks
mean nothing. The true services are tested together elsewhere.
"""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from shared.contracts.common import BundleReference, BundleStatus, Problem
from shared.contracts.embedding import (
    EmbedInput,
    EmbedOutput,
    EmbedRequest,
    EmbedResponse,
    Encoder,
    Encoders,
)
from shared.contracts.empty import Done
from shared.contracts.ranking import (
    RankableItem,
    RankedItem,
    RankRequest,
    RankResponse,
    ScoreShares,
    UpsertItemsRequest,
)
from shared.contracts.tokenization import (
    IndexItem,
    IndexRequest,
    SimilarItem,
    SimilarResponse,
    TokenizedItem,
    TokenizeRequest,
    TokenizeResponse,
)
from shared.errors import (
    BrokenImageError,
    BundleNotLoadedError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnknownItemsError,
)
from shared.http import install_problem_handlers
from shared.modeling.modality import Modality

BUNDLE = "20260101T000000-test"
TEXT_REVISION = "text-encoder@1"
IMAGE_REVISION = "image-encoder@1"
LEVELS = 4


def numbers_of(data: bytes, count: int) -> list[float]:
    """Numbers in [0, 1) that depend on every byte."""
    return [byte / 256 for byte in hashlib.sha256(data).digest()[:count]]


class StandIn:
    """A service that can be told to be down, slow, or to answer only when `gate` is open."""

    def __init__(self) -> None:
        self.app = FastAPI()
        install_problem_handlers(self.app)
        self.is_down = False
        self.delay_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.requests: list[Any] = []
        self.loaded: set[str] = {BUNDLE}
        self.active: dict[str, str] = {}

    async def receive(self, request: Any) -> None:
        self.requests.append(request)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.is_down:
            raise UnavailableError("the stand-in is down")
        await self.gate.wait()

    def hold_bundles(self) -> None:
        """Bundles are loaded and activated, as far as their names go."""

        @self.app.post("/bundles/load")
        async def load(bundle: BundleReference) -> BundleStatus:
            await self.receive(("load", bundle.version))
            self.loaded.add(bundle.version)
            return self._status(bundle)

        @self.app.post("/bundles/activate")
        async def activate(bundle: BundleReference) -> BundleStatus:
            await self.receive(("activate", bundle.version))
            self.loaded.add(bundle.version)
            self.active[bundle.catalog_id] = bundle.version
            return self._status(bundle)

    def _status(self, bundle: BundleReference) -> BundleStatus:
        return BundleStatus(
            catalog_id=bundle.catalog_id,
            active=self.active.get(bundle.catalog_id),
            loaded=sorted(self.loaded),
            items=0,
        )


class EmbeddingStandIn(StandIn):
    """A text that contains `cannot be embedded` is refused, alone."""

    def __init__(self) -> None:
        super().__init__()
        self.text_revision = TEXT_REVISION

        @self.app.get("/encoders")
        async def encoders() -> Encoders:
            await self.receive("encoders")
            return Encoders(
                text=Encoder(source="stand-in", revision=self.text_revision, dimension=4),
                image=Encoder(source="stand-in", revision=IMAGE_REVISION, dimension=3),
            )

        @self.app.post("/embed")
        async def embed(request: EmbedRequest) -> EmbedResponse:
            await self.receive(request)
            return EmbedResponse(
                outputs=[self._output(sent) for sent in request.inputs],
                text_revision=self.text_revision,
                image_revision=IMAGE_REVISION,
            )

    def _output(self, sent: EmbedInput) -> EmbedOutput:
        if "cannot be embedded" in (sent.text or ""):
            return EmbedOutput(problem=Problem(**BrokenImageError("image: broken").problem()))
        return EmbedOutput(
            text=None if sent.text is None else numbers_of(sent.text.encode(), 4),
            visual=None if sent.image_base64 is None else numbers_of(sent.image_base64.encode(), 3),
        )


class TokenizationStandIn(StandIn):
    """Keeps one index a catalogue; an item named `untokenizable` is refused with its request."""

    def __init__(self) -> None:
        super().__init__()
        self.index: dict[str, dict[str, IndexItem]] = {}
        self.removed: dict[tuple[str, str], int] = {}
        self.hold_bundles()

        @self.app.post("/tokenize")
        async def tokenize(request: TokenizeRequest) -> TokenizeResponse:
            await self.receive(request)
            if any(item.item_id == "untokenizable" for item in request.items):
                raise InvalidInputError.of("items", "one of them is untokenizable")
            return TokenizeResponse(
                bundle=request.bundle or BUNDLE,
                items=[
                    TokenizedItem(
                        item_id=item.item_id,
                        codes={
                            modality: [int(n * 256) for n in numbers_of(repr(v).encode(), LEVELS)]
                            for modality, v in self._complete(item.vectors).items()
                        },
                        imputed={
                            modality: vector
                            for modality, vector in self._complete(item.vectors).items()
                            if modality not in item.vectors
                        },
                        neighbours=[],
                    )
                    for item in request.items
                ],
            )

        @self.app.put("/items")
        async def put(request: IndexRequest) -> Done:
            await self.receive(request)
            items = self.index.setdefault(request.catalog_id, {})
            for item in request.items:
                known = items.get(item.item_id)
                gone = self.removed.get((request.catalog_id, item.item_id), 0)
                if item.version > gone and (known is None or item.version >= known.version):
                    items[item.item_id] = item
            return Done()

        @self.app.delete("/items/{item_id:path}")
        async def remove(item_id: str, catalog_id: str, version: int) -> Done:
            await self.receive(("remove", item_id, version))
            items = self.index.setdefault(catalog_id, {})
            if item_id in items and items[item_id].version <= version:
                del items[item_id]
            self.removed[catalog_id, item_id] = version
            return Done()

        @self.app.get("/items/{item_id:path}/similar")
        async def similar(
            item_id: str, catalog_id: str, k: int, modality: Modality | None = None
        ) -> SimilarResponse:
            await self.receive(("similar", item_id, modality))
            items = self.index.get(catalog_id, {})
            if item_id not in items:
                raise NotFoundError(f"{item_id} is not in the index")
            others = [other for other in items if other != item_id]
            return SimilarResponse(
                bundle=BUNDLE,
                items=[
                    SimilarItem(item_id=other, similarity=1 - place / 10)
                    for place, other in enumerate(others[:k])
                ],
            )

    def _complete(self, vectors: dict[Modality, list[float]]) -> dict[Modality, list[float]]:
        return {modality: vectors.get(modality, [0.5, 0.25]) for modality in Modality}


class RankingStandIn(StandIn):
    """Ranks the items it was told of by their ids; those seen are left out.

    `refuses_unknown`: a history of unknown items only is an error instead of popular items.
    `falls_back`: something simpler than the ranker answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, dict[str, RankableItem]] = {}
        self.refuses_unknown = False
        self.falls_back = False
        self.hold_bundles()

        @self.app.post("/rank")
        async def rank(request: RankRequest) -> RankResponse:
            await self.receive(request)
            if request.bundle is not None and request.bundle not in self.loaded:
                raise BundleNotLoadedError(f"{request.bundle} is not loaded")
            items = self.items.get(request.catalog_id, {})
            unknown = [item_id for item_id in request.history if item_id not in items]
            known = [item_id for item_id in request.history if item_id in items]
            if self.refuses_unknown and unknown and not known:
                raise UnknownItemsError("history: none of these items is known")
            seen = set(known) if request.exclude_seen else set()
            best = [item_id for item_id in sorted(items) if item_id not in seen][: request.k]
            shares = ScoreShares(target=0.25, collaborative=0.25, text=0.25, visual=0.25)
            source = "sasrec" if self.falls_back else "ranker"
            return RankResponse(
                bundle=request.bundle or self.active.get(request.catalog_id, BUNDLE),
                engine="stand-in",
                source=source if known else "popularity",
                fallback="engine_unavailable" if self.falls_back else None,
                items=[
                    RankedItem(
                        item_id=item_id, score=1.0 - place / 100, shares=shares if known else None
                    )
                    for place, item_id in enumerate(best)
                ],
                unknown_items=unknown,
            )

        @self.app.put("/items")
        async def upsert(request: UpsertItemsRequest) -> Done:
            await self.receive(request)
            items = self.items.setdefault(request.catalog_id, {})
            for item in request.items:
                known = items.get(item.item_id)
                if known is None or item.version >= known.version:
                    items[item.item_id] = item
            return Done()

        @self.app.delete("/items/{item_id:path}")
        async def remove(item_id: str, catalog_id: str, version: int) -> Done:
            await self.receive(("remove", item_id, version))
            items = self.items.setdefault(catalog_id, {})
            if item_id in items and items[item_id].version <= version:
                del items[item_id]
            return Done()


class StandIns:
    def __init__(self) -> None:
        self.embedding = EmbeddingStandIn()
        self.tokenization = TokenizationStandIn()
        self.ranking = RankingStandIn()
        self.urls: dict[str, str] = {}

    @property
    def all(self) -> dict[str, StandIn]:
        return {
            "embedding": self.embedding,
            "tokenization": self.tokenization,
            "ranking": self.ranking,
        }


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The app over real HTTP; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not running.done(), "the server ended before it started"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


@pytest.fixture
def serve() -> Callable[[FastAPI], AbstractAsyncContextManager[str]]:
    """`async with serve(app) as url:` runs an app over real HTTP."""
    return served


@pytest.fixture
async def stand_ins() -> AsyncIterator[StandIns]:
    """The three services, each on a port of its own."""
    made = StandIns()
    async with (
        served(made.embedding.app) as embedding,
        served(made.tokenization.app) as tokenization,
        served(made.ranking.app) as ranking,
    ):
        made.urls = {"embedding": embedding, "tokenization": tokenization, "ranking": ranking}
        yield made
