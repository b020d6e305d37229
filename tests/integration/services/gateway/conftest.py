import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from PIL import Image

from services.gateway.app import create_app
from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.database.api_keys import ApiKeyRepository, Scope
from shared.database.bundles import BundleRepository
from shared.database.outbox import OutboxRepository
from shared.database.session import Database
from shared.ingestion.change import Outcome, change_of
from shared.ingestion.pipeline import ItemPipeline
from shared.settings import Settings

BUNDLE = "20260101T000000-test"
MANIFEST = {
    "encoders": {"text": "text-encoder@1", "visual": "image-encoder@1"},
    "dataset": {"items": 3},
    "metrics": {
        "ndcg@10": 0.1,
        "gates": [{"name": "smoke", "passed": True, "explanation": "all well", "figures": {}}],
    },
}


def picture(size=(8, 8), colour="navy", kind="PNG") -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, colour).save(made, kind)
    return made.getvalue()


@dataclass
class Gateway:
    """A running gateway; `client` holds a key of the catalogue `shop` with every scope."""

    url: str
    settings: Settings
    database: Database
    client: httpx.AsyncClient
    clients: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def client_for(self, catalog_id: str, *scopes: Scope) -> httpx.AsyncClient:
        async with self.database.transaction() as session:
            key = await ApiKeyRepository(session).create(catalog_id, name="test", scopes=scopes)
        return await self.clients.enter_async_context(
            httpx.AsyncClient(
                base_url=self.url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
                trust_env=False,
            )
        )

    async def go_live(self, catalog_id: str, version: str = BUNDLE) -> None:
        async with self.database.transaction() as session:
            bundles = BundleRepository(session, catalog_id)
            await bundles.add(version, MANIFEST, run_id=None)
            await bundles.make_live(version)

    async def publish(self, version: str, *, failed_gates: Sequence[str] = ()) -> None:
        """A bundle of `shop` that is not live."""
        gates = [
            {"name": name, "passed": False, "explanation": "it is too bad", "figures": {}}
            for name in failed_gates
        ]
        manifest = {**MANIFEST, "metrics": {**MANIFEST["metrics"], "gates": gates}}
        async with self.database.transaction() as session:
            await BundleRepository(session, "shop").add(version, manifest, run_id=None)

    async def states(self) -> dict[str, str]:
        """Version -> state of the bundles of `shop`."""
        bundles = (await self.client.get("/v1/admin/bundles")).json()["bundles"]
        return {bundle["version"]: bundle["state"] for bundle in bundles}

    async def outbox(self, *item_ids: str, catalog_id: str = "shop") -> set[str]:
        async with self.database.transaction() as session:
            rows = await OutboxRepository(session).get(catalog_id, item_ids)
        return {row.item_id for row in rows}

    async def relay(self, *item_ids: str, catalog_id: str = "shop") -> list[Outcome]:
        """What the relay does with the outbox rows of these items."""
        async with self.database.transaction() as session:
            rows = await OutboxRepository(session).get(catalog_id, item_ids)
        services = self.settings.services
        embedding, tokenization, ranking = (
            EmbeddingClient(services),
            TokenizationClient(services),
            RankingClient(services),
        )
        pipeline = ItemPipeline(
            self.database,
            ArtifactStore(self.settings.artifacts),
            embedding=embedding,
            tokenization=tokenization,
            ranking=ranking,
        )
        outcomes = await pipeline.process(catalog_id, [change_of(row) for row in rows])
        for client in (embedding, tokenization, ranking):
            await client.close()
        return outcomes


@pytest.fixture
async def start_gateway(make_settings, stand_ins, serve) -> AsyncIterator[Callable[..., Gateway]]:
    """Starts a gateway before the stand-ins; sections of its settings can be overridden."""
    async with AsyncExitStack() as stack:

        async def start(*, live: bool = True, **sections) -> Gateway:
            services = {**stand_ins.urls, "timeout_s": 5.0, **sections.pop("services", {})}
            settings = make_settings(services=services, **sections)
            url = await stack.enter_async_context(serve(create_app(settings)))
            database = Database(settings.database)
            stack.push_async_callback(database.close)
            gateway = Gateway(url, settings, database, client=None)  # set below
            await stack.enter_async_context(gateway.clients)
            gateway.client = await gateway.client_for("shop", Scope.ADMIN)
            if live:
                await gateway.go_live("shop")
            return gateway

        yield start


@pytest.fixture
async def gateway(start_gateway) -> Gateway:
    """A gateway whose catalogue `shop` has a live bundle."""
    return await start_gateway()


@pytest.fixture
def client(gateway) -> httpx.AsyncClient:
    return gateway.client


@pytest.fixture
def png() -> bytes:
    return picture()


@pytest.fixture
def draw() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def is_problem() -> Callable[..., None]:
    """Asserts that an answer is a problem document with this status that names this field."""

    def check(answer: httpx.Response, status: int, field: str | None = None, cause: str = ""):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["status"] == status
        assert document["title"]
        assert cause in document["detail"]
        if field is not None:
            assert field in [error["field"] for error in document["errors"]], document
        assert answer.headers["x-request-id"]

    return check
