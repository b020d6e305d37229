"""Tiny real bundles: 60 items of six kinds, every model trained a few steps, in the true layout."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI

from shared.artifacts.bundle import (
    Bundle,
    Catalogue,
    Manifest,
    bundle_path,
    write_catalogue,
    write_manifest,
    write_sids,
)
from shared.database.bundles import BundleRepository
from shared.database.embeddings import EmbeddingRepository, ItemVector
from shared.database.items import ItemContent, ItemRepository, NewItem
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.database.session import Database
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama
from shared.modeling.mm_rq_vae import train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec import train_sasrec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart
from shared.modeling.sequences import item_frequency, leave_one_out
from shared.settings import Settings

ITEMS, KINDS, HIDDEN = 60, 6, 64
DIMENSIONS = {Modality.COLLABORATIVE: 8, Modality.TEXT: 12, Modality.VISUAL: 10}
ENCODERS = {Modality.TEXT: "text-encoder@1", Modality.VISUAL: "image-encoder@1"}
NOW = timedelta(0)


def item_id(row: int) -> str:
    return f"item-{row:02d}"


def kind_of(row: int) -> int:
    return row % KINDS


def content_of(row: int) -> ItemContent:
    """Categories and attributes that filters can tell items apart by."""
    return ItemContent(
        title=f"Item {row}",
        description="",
        categories=(f"kind-{kind_of(row)}", "even" if row % 2 == 0 else "odd"),
        brand=None,
        attributes={"size": float(row % 3), "new": row % 5 == 0, "color": "red"},
        image_sha256=None,
        content_hash=str(row),
    )


def like_kind(kind: int, seed: int) -> dict[Modality, np.ndarray]:
    """Vectors around the centre of a kind."""
    noise = np.random.default_rng(1000 + seed)
    return {
        modality: (centre[kind] + 0.3 * noise.normal(size=size)).astype(np.float32)
        for (modality, size), centre in zip(DIMENSIONS.items(), _centres(), strict=True)
    }


@cache
def _centres() -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.normal(size=(KINDS, size)) for size in DIMENSIONS.values()]


def _sequences(seed: int) -> list[np.ndarray]:
    """Users who stay within a kind, mostly; low rows are bought more often."""
    random = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, ITEMS // KINDS + 1)
    sequences = []
    for user in range(80):
        places = random.choice(len(popularity), size=8, p=popularity / popularity.sum())
        kinds = np.where(random.random(8) < 0.8, user % KINDS, random.integers(KINDS, size=8))
        sequences.append(places * KINDS + kinds)
    return sequences


def write_tiny_bundle(folder: Path, *, seed: int) -> None:
    """Train all models on the tiny shop and write every file but the manifest."""
    torch.set_num_threads(1)
    vectors = [like_kind(kind_of(row), seed=row) for row in range(ITEMS)]
    embeddings = {j: np.stack([own[j] for own in vectors]) for j in DIMENSIONS}
    # The last items were never bought, and every ninth has no image.
    imputed = {j: np.zeros(ITEMS, dtype=bool) for j in DIMENSIONS}
    imputed[Modality.COLLABORATIVE][ITEMS - 5 :] = True
    imputed[Modality.VISUAL][::9] = True
    tensors = {j: torch.from_numpy(table) for j, table in embeddings.items()}
    tokenizer = train_mm_rq_vae(
        tensors,
        MMRQVAEConfig(dimension=HIDDEN, codebook_size=8, hidden=16, epochs=3, seed=seed),
    )
    tokenizer.save(folder / "tokenizer")
    codes = tokenizer.codes(tensors)
    split = leave_one_out(_sequences(seed))
    sasrec = train_sasrec(split, ITEMS, SASRecConfig(dimension=8, epochs=3, seed=seed))
    sasrec.save(folder / "collaborative")
    ranker = train_ranker(
        split,
        ITEMS,
        tensors,
        codes,
        {j: tokenizer.code_embeddings(j) for j in DIMENSIONS},
        BaseSource(
            BaseKind.TINY, tiny=TinyLlama(hidden_size=HIDDEN, intermediate_size=48, layers=2)
        ),
        RankerConfig(epochs=2, max_history=30, warm_up_steps=2, learning_rate_new=5e-3, seed=seed),
    )
    ranker.sequence_part = SequencePart.of(sasrec, sasrec.collaborative_embeddings(), 0.5)
    ranker.save(folder / "ranker")
    item_ids = [item_id(row) for row in range(ITEMS)]
    with torch.no_grad():
        write_catalogue(
            folder,
            Catalogue(
                item_ids=item_ids,
                item_versions=np.ones(ITEMS, dtype=np.int64),
                frequency=item_frequency(split, ITEMS),
                input_table=ranker.input_table().numpy(),
                fused=ranker.fused_matrix().numpy(),
                embeddings=embeddings,
                imputed=imputed,
            ),
        )
    write_sids(folder, item_ids, {j: table.numpy() for j, table in codes.items()})


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of the tiny bundle of a seed, without a manifest; trained once."""

    @cache
    def make(seed: int) -> Path:
        folder = tmp_path_factory.mktemp(f"tiny-bundle-{seed}")
        write_tiny_bundle(folder, seed=seed)
        return folder

    return make


@dataclass
class Shop:
    """One catalogue in the stores of the settings."""

    settings: Settings
    database: Database
    tiny_bundle: Callable[[int], Path]
    catalog_id: str = "default"

    async def fill(self) -> None:
        """Store the tiny shop's items as ready."""
        async with self.database.transaction() as session:
            items = ItemRepository(session, self.catalog_id)
            new = [NewItem(item_id(row), content_of(row)) for row in range(ITEMS)]
            await items.insert_many(new, relay_after=NOW)
            await items.mark_ready({item.item_id: 1 for item in new})

    async def publish(self, version: str, *, seed: int = 0, live: bool = True) -> Bundle:
        """Put a bundle into the artifact store and the database."""
        folder = Path(self.settings.artifacts.url) / bundle_path(self.catalog_id, version)
        await asyncio.to_thread(shutil.copytree, await self._trained(seed), folder)
        manifest = Manifest(
            catalog_id=self.catalog_id,
            version=version,
            created_at=datetime.now(UTC),
            parent=None,
            dataset={"items": ITEMS},
            encoders=ENCODERS,
            config={},
            metrics={},
            libraries={},
            files={},
        )
        write_manifest(folder, manifest)
        bundle = Bundle(folder)
        sids = bundle.sids()
        async with self.database.transaction() as session:
            await BundleRepository(session, self.catalog_id).add(
                version, json.loads(manifest.model_dump_json()), run_id=None
            )
            await SemanticIdRepository(session, self.catalog_id).put(
                version,
                [
                    ItemSemanticIds(item_id(row), 1, {j: sids[j][row].tolist() for j in sids})
                    for row in range(ITEMS)
                ],
            )
        if live:
            await self.make_live(version)
        return bundle

    async def make_live(self, version: str) -> None:
        async with self.database.transaction() as session:
            await BundleRepository(session, self.catalog_id).make_live(version)

    async def store_item(
        self,
        name: str,
        content: ItemContent,
        *,
        bundle: str,
        vectors: dict[Modality, np.ndarray],
        codes: dict[Modality, list[int]],
        imputed: dict[Modality, np.ndarray],
        neighbours: list[tuple[str, float]],
    ) -> int:
        """Store an item, new or changed, as the ingestion leaves it; returns its version."""
        async with self.database.transaction() as session:
            items = ItemRepository(session, self.catalog_id)
            row = await items.get(name, for_update=True)
            if row is None:
                row = await items.insert(NewItem(name, content), relay_after=NOW)
                assert row is not None
            else:
                await items.change(row, content, relay_after=NOW)
            version = row.version
            await EmbeddingRepository(session, self.catalog_id).put(
                [
                    *(
                        ItemVector(name, version, j, ENCODERS[j], vector)
                        for j, vector in vectors.items()
                    ),
                    *(
                        ItemVector(name, version, j, bundle, vector)
                        for j, vector in imputed.items()
                    ),
                ]
            )
            own = ItemSemanticIds(name, version, codes, list(imputed), neighbours)
            await SemanticIdRepository(session, self.catalog_id).put(bundle, [own])
            await items.mark_ready({name: version})
        return version

    async def delete_item(self, name: str) -> int:
        """Mark an item deleted; returns the version of the deletion."""
        async with self.database.transaction() as session:
            items = ItemRepository(session, self.catalog_id)
            row = await items.get(name, for_update=True)
            assert row is not None
            await items.delete(row, relay_after=NOW)
            return row.version

    async def _trained(self, seed: int) -> Path:
        return await asyncio.to_thread(self.tiny_bundle, seed)


@pytest.fixture
async def make_shop(
    make_settings: Callable[..., Settings], tiny_bundle: Callable[[int], Path]
) -> AsyncIterator[Callable[..., Any]]:
    """Makes a shop whose items are stored; bundles are published by the test.

    shop = await make_shop(catalogs=("default", "other"), catalog_id="other")
    """
    databases: list[Database] = []

    async def make(*, catalog_id: str = "default", **sections: Any) -> Shop:
        settings = make_settings(
            **{"bundle_poll": {"interval_s": 0.2}, "ranking": {"threads": 1}, **sections}
        )
        databases.append(Database(settings.database))
        shop = Shop(settings, databases[-1], tiny_bundle, catalog_id)
        await shop.fill()
        return shop

    yield make
    for database in databases:
        await database.close()


@pytest.fixture
def running_service() -> Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]:
    """A client of an app that runs while the block does, once it says it is ready."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://service", timeout=60
            ) as client,
        ):
            await until(lambda: is_ready(client))
            yield client

    return run


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return until


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health/ready")).status_code == 200


async def until(condition: Callable[[], Any], *, at_most_s: float = 60) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(at_most_s):
        while not await condition():
            await asyncio.sleep(0.02)
