from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository, NewItem
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.ingestion.change import Action, Change
from shared.ingestion.item_content import item_content
from shared.ingestion.pipeline import ItemPipeline

CATALOG = "shop"
ENCODERS = {"text": "text-encoder@1", "visual": "image-encoder@1"}


@dataclass
class Workshop:
    """A pipeline with its database, and short words for what tests do with them."""

    database: Database
    artifacts: ArtifactStore
    pipeline: ItemPipeline

    async def add_bundle(self, version, *, live, encoders=ENCODERS, catalog_id=CATALOG):
        async with self.database.transaction() as session:
            bundles = BundleRepository(session, catalog_id)
            await bundles.add(version, {"encoders": encoders}, run_id=None)
            if live:
                await bundles.make_live(version)

    async def add_item(self, item_id, *, catalog_id=CATALOG, image=None, **content) -> Change:
        sha256 = None if image is None else ImageStore(self.artifacts, catalog_id).put(image)
        made = item_content(**{"title": f"Title of {item_id}", **content}, image_sha256=sha256)
        async with self.database.transaction() as session:
            row = await ItemRepository(session, catalog_id).insert(
                NewItem(item_id, made), relay_after=timedelta(0)
            )
        assert row is not None
        return Change(item_id, row.version)

    async def change_item(self, item_id, title) -> Change:
        async with self.database.transaction() as session:
            items = ItemRepository(session, CATALOG)
            row = await items.get(item_id, for_update=True)
            assert row is not None
            await items.change(row, item_content(title=title), relay_after=timedelta(0))
        return Change(item_id, row.version)

    async def delete_item(self, item_id) -> Change:
        async with self.database.transaction() as session:
            items = ItemRepository(session, CATALOG)
            row = await items.get(item_id, for_update=True)
            assert row is not None
            await items.delete(row, relay_after=timedelta(0))
        return Change(item_id, row.version, Action.DELETE)

    async def item(self, item_id, *, catalog_id=CATALOG) -> ItemRow | None:
        async with self.database.transaction() as session:
            return await ItemRepository(session, catalog_id).get(item_id)

    async def waiting(self, *item_ids, catalog_id=CATALOG) -> set[str]:
        async with self.database.transaction() as session:
            rows = await OutboxRepository(session).get(catalog_id, item_ids)
        return {row.item_id for row in rows}

    async def semantic_ids(self, bundle, item_id, *, catalog_id=CATALOG) -> ItemSemanticIds | None:
        async with self.database.transaction() as session:
            found = await SemanticIdRepository(session, catalog_id).of_items(bundle, [item_id])
        return found.get(item_id)


@pytest.fixture
async def workshop(make_settings, stand_ins) -> AsyncIterator[Workshop]:
    settings = make_settings(services={**stand_ins.urls, "timeout_s": 2.0})
    database = Database(settings.database)
    artifacts = ArtifactStore(settings.artifacts)
    clients = {
        "embedding": EmbeddingClient(settings.services),
        "tokenization": TokenizationClient(settings.services),
        "ranking": RankingClient(settings.services),
    }
    yield Workshop(database, artifacts, ItemPipeline(database, artifacts, **clients))
    for client in clients.values():
        await client.close()
    await database.close()
