"""What the service does, over the bundles it follows."""

from typing import Self

import structlog
from prometheus_client import Counter, Histogram

from services.tokenization.bundle_index import (
    BundleIndex,
    IndexedItem,
    collection_of,
    live_alias,
)
from services.tokenization.index_filling import fill_index
from services.tokenization.served_bundle import ServedBundle
from services.tokenization.tokenizing import tokenize
from shared.artifacts.bundle import open_bundle
from shared.artifacts.store import ArtifactStore
from shared.bundle_follower import BundleFollower
from shared.computing import apart
from shared.contracts.common import BundleStatus
from shared.contracts.tokenization import (
    IndexItem,
    IndexRequest,
    SimilarItem,
    SimilarResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from shared.database.session import Database
from shared.modeling.modality import Modality
from shared.notices import Notices
from shared.settings import Settings
from shared.vectors.opening import open_vector_store
from shared.vectors.store import VectorStore

TOKENIZED = Counter("mmesid_tokenized_items_total", "Items that got semantic IDs.")
IMPUTED = Counter(
    "mmesid_imputed_vectors_total", "Vectors estimated from neighbours.", ["modality"]
)
SECONDS = Histogram("mmesid_tokenization_seconds", "Duration of a request's work.", ["work"])

log = structlog.get_logger()


class TokenizationService:
    """Semantic IDs and similar items of the catalogues of the settings."""

    def __init__(
        self, database: Database, notices: Notices, artifacts: ArtifactStore, store: VectorStore,
        settings: Settings,
    ) -> None:  # fmt: skip
        self._database = database
        self._notices = notices
        self._artifacts = artifacts
        self._store = store
        self._filling: dict[str, set[ServedBundle]] = {name: set() for name in settings.catalogs}
        self._swept: set[str] = set()
        self.follower = BundleFollower[ServedBundle](
            database,
            notices,
            settings.catalogs,
            interval_s=settings.bundle_poll.interval_s,
            load=self._load,
            release=self._release,
            activated=self._activated,
        )

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect, and begin to follow the live bundles in the background."""
        service = cls(
            Database(settings.database),
            Notices(settings.redis),
            ArtifactStore(settings.artifacts),
            open_vector_store(settings.vectors),
            settings,
        )
        service.follower.start()
        return service

    async def close(self) -> None:
        await self.follower.stop()
        await self._store.close()
        await self._notices.close()
        await self._database.close()

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResponse:
        """Raises UnavailableError without a bundle; otherwise as `tokenizing.tokenize` does."""
        with (
            self.follower.use(request.catalog_id, request.bundle) as bundle,
            SECONDS.labels("tokenize").time(),
        ):
            items = await tokenize(bundle, request.items)
        TOKENIZED.inc(len(items))
        for item in items:
            for modality in item.imputed:
                IMPUTED.labels(modality.value).inc()
        return TokenizeResponse(bundle=bundle.version, items=items)

    async def index(self, request: IndexRequest) -> None:
        """Raises InvalidInputError where an item does not fit the bundle."""
        with self.follower.use(request.catalog_id, request.bundle) as bundle:
            items = [_indexed(bundle, f"items.{n}", item) for n, item in enumerate(request.items)]
            with SECONDS.labels("index").time():
                await bundle.index.put(items)

    async def remove(self, catalog_id: str, item_id: str, version: int) -> None:
        """Take an item from all of the catalogue's bundles, those being loaded too.

        Raises NotFoundError where the catalogue is not served here.
        """
        bundles = {*self.follower.held(catalog_id).values(), *self._filling[catalog_id]}
        for bundle in bundles:
            await bundle.index.remove({item_id: version})

    async def similar(
        self, catalog_id: str, item_id: str, k: int, modality: Modality | None
    ) -> SimilarResponse:
        """Raises NotFoundError where the item is not indexed."""
        with self.follower.use(catalog_id) as bundle, SECONDS.labels("similar").time():
            hits = await bundle.index.similar(item_id, k, modality)
        return SimilarResponse(
            bundle=bundle.version,
            items=[SimilarItem(item_id=hit.item_id, similarity=hit.similarity) for hit in hits],
        )

    def statuses(self) -> list[BundleStatus]:
        return [self.status(catalog_id) for catalog_id in self.follower.catalogs]

    def status(self, catalog_id: str) -> BundleStatus:
        held, active = self.follower.held(catalog_id), self.follower.active(catalog_id)
        return BundleStatus(
            catalog_id=catalog_id,
            active=active,
            loaded=sorted(held),
            items=len(held[active].index) if active else 0,
        )

    async def _load(self, catalog_id: str, version: str) -> ServedBundle:
        bundle = await apart(open_bundle, self._artifacts, catalog_id, version)
        index = BundleIndex(self._store, collection_of(catalog_id, version))
        served = await apart(ServedBundle.open, bundle, index)
        # From here on removals reach this bundle too, so that none is missed while it fills.
        self._filling[catalog_id].add(served)
        try:
            await fill_index(served, bundle, self._database)
        finally:
            self._filling[catalog_id].discard(served)
        return served

    async def _release(self, _: str, bundle: ServedBundle) -> None:
        await bundle.index.drop()

    async def _activated(self, catalog_id: str, bundle: ServedBundle) -> None:
        """Point the alias at the live index; the first time, drop what former processes left."""
        await self._store.switch_alias(live_alias(catalog_id), bundle.index.collection)
        if catalog_id in self._swept:
            return
        self._swept.add(catalog_id)
        filling = {bundle.version for bundle in self._filling[catalog_id]}
        kept = self.follower.wanted(catalog_id) | filling
        kept_collections = {collection_of(catalog_id, version) for version in kept}
        for collection in await self._store.collections():
            if collection.startswith(f"{catalog_id}.") and collection not in kept_collections:
                await self._store.drop(collection)


def _indexed(bundle: ServedBundle, place: str, item: IndexItem) -> IndexedItem:
    bundle.check_codes(place, item.codes)
    learned = bundle.learned.get(item.item_id) is not None
    return IndexedItem(
        item_id=item.item_id,
        version=item.version,
        vectors=bundle.own_vectors(place, item.item_id, item.vectors),
        codes=item.codes,
        categories=item.categories,
        attributes=item.attributes,
        learned=[Modality.COLLABORATIVE] if learned else [],
    )
