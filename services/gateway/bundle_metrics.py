"""How well a bundle serves its users, by what they did with its lists."""

from datetime import datetime

from services.gateway.wilson import rate
from shared.contracts.admin import BundleMetrics
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository
from shared.database.recommendations import RecommendationRepository
from shared.database.session import Database
from shared.errors import InvalidInputError, NotFoundError


class BundleMetricsReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(
        self, catalog_id: str, version: str, *, since: datetime | None, until: datetime | None
    ) -> BundleMetrics:
        """Figures of the lists given from `since` on and before `until`.

        Raises:
            NotFoundError: there is no such bundle.
            InvalidInputError: `until` is not after `since`.
        """
        if since is not None and until is not None and until <= since:
            raise InvalidInputError.of("until", "must be after since")
        async with self._database.transaction() as session:
            if await BundleRepository(session, catalog_id).get(version) is None:
                raise NotFoundError(f"There is no bundle {version}")
            given = RecommendationRepository(session)
            lists = await given.lists(catalog_id, version, since=since, until=until)
            response = await given.response(catalog_id, version, since=since, until=until)
            shown = await given.items_shown(catalog_id, version, since=since, until=until)
            items = await ItemRepository(session, catalog_id).count()
        return BundleMetrics(
            version=version,
            since=since,
            until=until,
            recommendations=lists.recommendations,
            users=lists.users,
            impressions=lists.impressions,
            clicks=response.clicks,
            conversions=response.conversions,
            click_through_rate=rate(response.clicks, lists.impressions),
            conversion_rate=rate(response.conversions, lists.impressions),
            coverage=shown / items if items else None,
            latency_p50_ms=lists.latency_p50_ms,
            latency_p95_ms=lists.latency_p95_ms,
            fallback_share=(
                lists.fallbacks / lists.recommendations if lists.recommendations else None
            ),
        )
