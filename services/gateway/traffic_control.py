"""Who is served by what: shares of the users for bundles that are not live."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.bundle_gates import require_passed_gates
from services.gateway.traffic_split import TrafficSplit
from shared.contracts.admin import Traffic, TrafficShare, TrafficUpdate
from shared.contracts.common import BundleReference
from shared.database.bundles import BundleRepository
from shared.database.outbox import OutboxRepository
from shared.database.session import Database
from shared.database.traffic import TrafficRepository
from shared.errors import ConflictError, InvalidInputError
from shared.going_live import GoingLive


class TrafficControl:
    def __init__(self, database: Database, going_live: GoingLive, split: TrafficSplit) -> None:
        self._database = database
        self._going_live = going_live
        self._split = split

    async def get(self, catalog_id: str) -> Traffic:
        async with self._database.transaction() as session:
            return await _view(session, catalog_id)

    async def put(self, catalog_id: str, update: TrafficUpdate) -> Traffic:
        """Have these shares and no others; returns when every bundle among them is loaded.

        Raises:
            InvalidInputError: a bundle does not exist.
            GateFailedError: a gate of one failed, and `force` is false.
            ConflictError: one is live, or none is.
            UnavailableError: a service that should load one does not answer.
        """
        async with self._database.transaction() as session:
            await _require_shareable(session, catalog_id, update)
        for share in update.shares:
            bundle = BundleReference(catalog_id=catalog_id, version=share.version)
            await self._going_live.load(bundle)
            await self._going_live.catch_up(bundle)
        async with self._database.transaction() as session:
            await BundleRepository(session, catalog_id).lock()
            await _require_shareable(session, catalog_id, update)
            await TrafficRepository(session, catalog_id).replace(
                {share.version: share.percent for share in update.shares}
            )
            await _enqueue_missing(session, catalog_id, update.shares)
            traffic = await _view(session, catalog_id)
        self._split.forget(catalog_id)
        return traffic


async def _require_shareable(session: AsyncSession, catalog_id: str, update: TrafficUpdate) -> None:
    bundles = BundleRepository(session, catalog_id)
    live = (await bundles.in_service()).live
    if live is None and update.shares:
        raise ConflictError("No bundle is live: there is no traffic to share")
    for place, share in enumerate(update.shares):
        row = await bundles.get(share.version)
        if row is None:
            field = f"shares.{place}.version"
            raise InvalidInputError.of(field, f"there is no bundle {share.version}")
        if share.version == live:
            raise ConflictError(f"Bundle {live} is live: it gets what the shares leave")
        if not update.force:
            require_passed_gates(row)


async def _enqueue_missing(
    session: AsyncSession, catalog_id: str, shares: Sequence[TrafficShare]
) -> None:
    """Items that came after the catching up: from now on these bundles get new ones as well."""
    for share in shares:
        await OutboxRepository(session).enqueue_without_semantic_ids(catalog_id, share.version)


async def _view(session: AsyncSession, catalog_id: str) -> Traffic:
    live = (await BundleRepository(session, catalog_id).in_service()).live
    shares = await TrafficRepository(session, catalog_id).shares()
    return Traffic(
        live=live,
        live_percent=100 - sum(shares.values()),
        shares=[TrafficShare(version=v, percent=percent) for v, percent in shares.items()],
    )
