"""What the service does, over the bundles it follows."""

from typing import Self

import numpy as np
from prometheus_client import Counter, Gauge

from services.ranking.catching_up import catch_up
from services.ranking.item_rows import NewItem
from services.ranking.recommending import recommend
from services.ranking.served_bundle import ArrivingItem, ServedBundle
from shared.artifacts.bundle import open_bundle
from shared.artifacts.store import ArtifactStore
from shared.bundle_follower import BundleFollower
from shared.computing import apart
from shared.contracts.common import BundleStatus
from shared.contracts.ranking import RankableItem, RankRequest, RankResponse, UpsertItemsRequest
from shared.database.session import Database
from shared.notices import Notices
from shared.settings import Settings

RANKED = Counter(
    "mmesid_ranked_total",
    "Answered requests, by what ranked and why it was not the ranker.",
    ["source", "fallback"],
)
WAITING = Gauge(
    "mmesid_ranking_waiting_requests", "Requests without an answer yet: queued or being computed."
)


class RankingService:
    """Ranked lists for the catalogues of the settings."""

    def __init__(
        self, database: Database, notices: Notices, artifacts: ArtifactStore, settings: Settings
    ) -> None:
        self._database = database
        self._notices = notices
        self._artifacts = artifacts
        self._settings = settings
        self._catching_up: dict[str, set[ServedBundle]] = {n: set() for n in settings.catalogs}
        self.follower = BundleFollower[ServedBundle](
            database,
            notices,
            settings.catalogs,
            interval_s=settings.bundle_poll.interval_s,
            load=self._load,
            release=self._release,
        )

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect, and begin to follow the live bundles in the background."""
        service = cls(
            Database(settings.database),
            Notices(settings.redis),
            ArtifactStore(settings.artifacts),
            settings,
        )
        service.follower.start()
        return service

    async def close(self) -> None:
        await self.follower.stop()
        for catalog_id in self.follower.catalogs:
            for bundle in self.follower.held(catalog_id).values():
                await bundle.close()
        await self._notices.close()
        await self._database.close()

    async def rank(self, request: RankRequest) -> RankResponse:
        """Raises as `recommending.recommend` does, and UnavailableError without a bundle."""
        deadline_s = self._settings.ranking.deadline_s
        if request.deadline_ms is not None:
            deadline_s = request.deadline_ms / 1000
        with (
            self.follower.use(request.catalog_id, request.bundle) as bundle,
            WAITING.track_inprogress(),
        ):
            response = await recommend(bundle, request, deadline_s=deadline_s)
        RANKED.labels(response.source, response.fallback or "none").inc()
        return response

    async def put(self, request: UpsertItemsRequest) -> None:
        """Raises InvalidInputError where an item does not fit the bundle."""
        with self.follower.use(request.catalog_id, request.bundle) as bundle:
            await bundle.put([_arriving(n, item) for n, item in enumerate(request.items)])

    async def remove(self, catalog_id: str, item_id: str, version: int) -> None:
        """Hide an item in all of the catalogue's bundles, those being loaded too.

        Raises NotFoundError where the catalogue is not served here.
        """
        held = self.follower.held(catalog_id).values()
        for bundle in {*held, *self._catching_up[catalog_id]}:
            await bundle.remove({item_id: version})

    def statuses(self) -> list[BundleStatus]:
        return [self.status(catalog_id) for catalog_id in self.follower.catalogs]

    def status(self, catalog_id: str) -> BundleStatus:
        held, active = self.follower.held(catalog_id), self.follower.active(catalog_id)
        return BundleStatus(
            catalog_id=catalog_id,
            active=active,
            loaded=sorted(held),
            items=len(held[active].catalogue) if active else 0,
            engine=held[active].choice if active else None,
            engine_ready=held[active].engine.is_ready if active else None,
        )

    async def _load(self, catalog_id: str, version: str) -> ServedBundle:
        bundle = await apart(open_bundle, self._artifacts, catalog_id, version)
        served = await ServedBundle.open(bundle, self._settings.ranking)
        # From here on removals reach this bundle too, so that none is missed while it catches up.
        self._catching_up[catalog_id].add(served)
        try:
            await catch_up(served, self._database)
            await served.engine.warm_up()
        except BaseException:
            await served.close()
            raise
        finally:
            self._catching_up[catalog_id].discard(served)
        return served

    async def _release(self, _: str, bundle: ServedBundle) -> None:
        await bundle.close()


@np.errstate(over="ignore")  # what float32 cannot hold is refused as not finite
def _arriving(number: int, item: RankableItem) -> ArrivingItem:
    return ArrivingItem(
        item=NewItem(
            item_id=item.item_id,
            place=f"items.{number}",
            vectors={j: np.asarray(v, dtype=np.float32) for j, v in item.vectors.items()},
            codes=item.codes,
            neighbours=[(neighbour.item_id, neighbour.weight) for neighbour in item.neighbours],
        ),
        version=item.version,
        categories=item.categories,
        attributes=item.attributes,
    )
