"""Bundles: which exist, and which ones answer."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import BundleRow, TrafficShareRow
from shared.errors import NotFoundError


@dataclass(frozen=True)
class BundlesInService:
    """What services hold of a catalogue: the live bundle, the one before, those with traffic."""

    live: str | None
    former: str | None
    with_traffic: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.with_traffic | {v for v in (self.live, self.former) if v is not None}


class BundleRepository:
    """The bundles of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def add(self, version: str, manifest: dict[str, Any], *, run_id: UUID | None) -> None:
        """Record a published bundle that is not live yet."""
        self._session.add(
            BundleRow(
                catalog_id=self._catalog_id,
                version=version,
                state="published",
                run_id=run_id,
                manifest=manifest,
            )
        )
        await self._session.flush()

    async def get(self, version: str) -> BundleRow | None:
        return await self._session.get(BundleRow, (self._catalog_id, version))

    async def set_gates(self, version: str, gates: list[dict[str, Any]]) -> None:
        """Replace the gates in the recorded manifest; that in the artifact store never changes.

        Raises NotFoundError where there is no such bundle.
        """
        row = await self._session.get(BundleRow, (self._catalog_id, version), with_for_update=True)
        if row is None:
            raise NotFoundError(f"bundle {version} of catalogue {self._catalog_id} does not exist")
        metrics = {**row.manifest["metrics"], "gates": gates}
        row.manifest = {**row.manifest, "metrics": metrics}

    async def live(self) -> BundleRow | None:
        """The bundle that is served from, if any."""
        statement = select(BundleRow).where(
            BundleRow.catalog_id == self._catalog_id, BundleRow.state == "live"
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def in_service(self) -> BundlesInService:
        """The one before is the retired one that was made live last."""
        columns = select(BundleRow.version, BundleRow.state, TrafficShareRow.percent)
        statement = (
            columns.outerjoin(
                TrafficShareRow,
                (TrafficShareRow.catalog_id == BundleRow.catalog_id)
                & (TrafficShareRow.version == BundleRow.version),
            )
            .where(BundleRow.catalog_id == self._catalog_id)
            .order_by(BundleRow.activated_at.desc().nulls_last(), BundleRow.version.desc())
        )
        rows = (await self._session.execute(statement)).all()
        return BundlesInService(
            live=next((version for version, state, _ in rows if state == "live"), None),
            former=next((version for version, state, _ in rows if state == "retired"), None),
            with_traffic=frozenset(version for version, _, share in rows if share is not None),
        )

    async def lock(self, *, shared: bool = False) -> None:
        """Until the transaction ends nobody else changes which bundles of the catalogue answer.

        Several may hold it `shared`: none of them changes anything, and nobody else does.
        """
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        key = func.hashtextextended(f"bundles of {self._catalog_id}", 0)
        await self._session.execute(select(lock(key)))

    async def all(self) -> list[BundleRow]:
        """Newest first."""
        statement = (
            select(BundleRow)
            .where(BundleRow.catalog_id == self._catalog_id)
            .order_by(BundleRow.created_at.desc(), BundleRow.version.desc())
        )
        return list((await self._session.execute(statement)).scalars())

    async def make_live(self, version: str) -> None:
        """Serve from this bundle from now on; the one before is retired.

        Raises NotFoundError where there is no such bundle: the live one stays live.
        """
        await self.lock()
        live = await self.live()
        if live is not None and live.version == version:
            return
        if await self.get(version) is None:
            raise NotFoundError(f"bundle {version} of catalogue {self._catalog_id} does not exist")
        await self._session.execute(
            update(BundleRow)
            .where(BundleRow.catalog_id == self._catalog_id, BundleRow.state == "live")
            .values(state="retired")
            .execution_options(synchronize_session=False)
        )
        await self._session.execute(
            update(BundleRow)
            .where(BundleRow.catalog_id == self._catalog_id, BundleRow.version == version)
            .values(state="live", activated_at=func.now())
            .execution_options(synchronize_session=False)
        )

    async def remove(self, version: str) -> None:
        """Forget a bundle that is not live, with the semantic IDs that belong to it."""
        await self._session.execute(
            delete(BundleRow)
            .where(
                BundleRow.catalog_id == self._catalog_id,
                BundleRow.version == version,
                BundleRow.state != "live",
            )
            .execution_options(synchronize_session=False)
        )
