"""A bundle is made live by hand, or the one before it again."""

from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.bundle_gates import require_passed_gates
from services.gateway.bundle_list import bundle_view
from shared.contracts.admin import Bundle
from shared.contracts.common import BundleReference
from shared.database.bundles import BundleRepository
from shared.database.session import Database
from shared.errors import ConflictError, NotFoundError
from shared.going_live import GoingLive


class BundleActivation:
    def __init__(self, database: Database, going_live: GoingLive) -> None:
        self._database = database
        self._going_live = going_live

    async def activate(self, catalog_id: str, version: str, *, force: bool) -> Bundle:
        """Serve from a bundle; returns when the services do.

        Raises:
            NotFoundError: there is no such bundle.
            GateFailedError: one of its gates failed, and `force` is false.
            ConflictError: another one went live meanwhile.
            UnavailableError: a service that should load it does not answer.
        """
        async with self._database.transaction() as session:
            bundles = BundleRepository(session, catalog_id)
            row = await bundles.get(version)
            live = (await bundles.in_service()).live
        if row is None:
            raise NotFoundError(f"There is no bundle {version}")
        if not force and version != live:
            require_passed_gates(row)
        return await self._switch(catalog_id, version, instead_of=live)

    async def rollback(self, catalog_id: str) -> Bundle:
        """Serve from the bundle that was live before the live one; returns when the services do.

        Raises:
            ConflictError: there is none, or another one went live meanwhile.
            UnavailableError: a service that should load it does not answer.
        """
        async with self._database.transaction() as session:
            in_service = await BundleRepository(session, catalog_id).in_service()
        if in_service.former is None:
            raise ConflictError("There is no bundle that was live before")
        return await self._switch(catalog_id, in_service.former, instead_of=in_service.live)

    async def _switch(self, catalog_id: str, version: str, *, instead_of: str | None) -> Bundle:
        """Of two that switch at once, the second one meant to replace something else."""
        bundle = BundleReference(catalog_id=catalog_id, version=version)

        async def nothing_else_went_live(session: AsyncSession) -> None:
            live = (await BundleRepository(session, catalog_id).in_service()).live
            if live not in (instead_of, version):
                raise ConflictError(f"Bundle {live} went live meanwhile: look, and ask again")

        await self._going_live.load(bundle)
        await self._going_live.catch_up(bundle)
        await self._going_live.go_live(bundle, confirm=nothing_else_went_live, made_from={})
        await self._going_live.tell(bundle)
        async with self._database.transaction() as session:
            row = await BundleRepository(session, catalog_id).get(version)
        if row is None:
            raise NotFoundError(f"There is no bundle {version} any more")
        return bundle_view(row)
