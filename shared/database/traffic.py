"""Which share of the users gets a bundle that is not live."""

from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import TrafficShareRow


class TrafficRepository:
    """The traffic shares of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def shares(self) -> dict[str, float]:
        """Percent by version, in the order of the versions."""
        statement = (
            select(TrafficShareRow.version, TrafficShareRow.percent)
            .where(TrafficShareRow.catalog_id == self._catalog_id)
            .order_by(TrafficShareRow.version)
        )
        return {row.version: row.percent for row in await self._session.execute(statement)}

    async def replace(self, shares: Mapping[str, float]) -> None:
        """Have these shares and no others."""
        await self._session.execute(
            delete(TrafficShareRow)
            .where(TrafficShareRow.catalog_id == self._catalog_id)
            .execution_options(synchronize_session=False)
        )
        if shares:
            await self._session.execute(
                insert(TrafficShareRow),
                [
                    {"catalog_id": self._catalog_id, "version": version, "percent": percent}
                    for version, percent in shares.items()
                ],
            )

    async def end(self, version: str) -> None:
        """Take a bundle's share away, if it has one: its users get the live bundle."""
        await self._session.execute(
            delete(TrafficShareRow)
            .where(
                TrafficShareRow.catalog_id == self._catalog_id, TrafficShareRow.version == version
            )
            .execution_options(synchronize_session=False)
        )
