"""One bundle as this service holds it: engine, fallback, catalogue, and how items come in."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.ranking.catalogue import Catalogue
from services.ranking.engines.engine import RankingEngine
from services.ranking.engines.opening import open_engine
from services.ranking.fallback import SASRecFallback
from services.ranking.item_rows import ItemRowMaker, NewItem
from shared.artifacts.bundle import Bundle, Manifest
from shared.computing import apart, compute
from shared.contracts.common import AttributeValue, EngineChoice
from shared.modeling.ranker import load_item_side, load_sequence_part
from shared.settings import RankingSettings


@dataclass(frozen=True)
class ArrivingItem:
    """A version of an item that came after the bundle was made."""

    item: NewItem
    version: int
    categories: Sequence[str]
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """fallback: None where the bundle was made without SASRec."""

    manifest: Manifest
    engine: RankingEngine
    choice: EngineChoice
    fallback: SASRecFallback | None
    catalogue: Catalogue
    rows: ItemRowMaker
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def open(cls, bundle: Bundle, settings: RankingSettings) -> "ServedBundle":
        """Read the bundle's files and start its engine; the items are those it was made from."""
        encoder, head = await apart(load_item_side, bundle.ranker)
        sequence_part = await apart(load_sequence_part, bundle.ranker)
        trained = bundle.catalogue
        fallback = await apart(SASRecFallback.open, bundle, settings)
        engine, choice = await open_engine(bundle, settings)
        return cls(
            manifest=bundle.manifest,
            engine=engine,
            choice=choice,
            fallback=fallback,
            catalogue=Catalogue(trained.item_ids, trained.item_versions, trained.frequency),
            rows=ItemRowMaker(encoder, head, sequence_part, trained),
        )

    @property
    def version(self) -> str:
        return self.manifest.version

    async def put(self, arriving: Sequence[ArrivingItem]) -> None:
        """Add or change items; those older than what is known, or removed since, are left out.

        Raises InvalidInputError where an item does not fit the bundle; then none is added.
        """
        async with self.changing:
            in_turn = sorted(arriving, key=lambda one: one.version)
            news = {
                one.item.item_id: one
                for one in in_turn
                if self.catalogue.is_news(one.item.item_id, one.version)
            }
            if not news:
                return
            made = await compute(self.rows.make, [one.item for one in news.values()])
            rows = np.asarray([self.catalogue.reserve(item_id) for item_id in news], np.int64)
            await self.engine.put(rows, made)
            for item_id, one in news.items():
                self.catalogue.publish(item_id, one.version, one.categories, one.attributes)

    async def remove(self, versions: Mapping[str, int]) -> None:
        """Recommend items no more, given the versions of their removal; newer ones stay."""
        async with self.changing:
            hidden = [self.catalogue.remove(i, version) for i, version in versions.items()]
            rows = [row for row in hidden if row is not None]
            if rows:
                await self.engine.hide(np.asarray(rows, dtype=np.int64))

    async def close(self) -> None:
        """Finish what waits and free what is held."""
        await self.engine.close()
        if self.fallback is not None:
            await self.fallback.close()
