"""The bundles of a catalogue."""

from shared.contracts.admin import Bundle, Bundles, Gate
from shared.database.bundles import BundleRepository
from shared.database.session import Database
from shared.database.tables import BundleRow


class BundleList:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, catalog_id: str) -> Bundles:
        async with self._database.transaction() as session:
            rows = await BundleRepository(session, catalog_id).all()
        return Bundles(bundles=[bundle_view(row) for row in rows])


def bundle_view(row: BundleRow) -> Bundle:
    metrics = {**row.manifest["metrics"]}
    gates = metrics.pop("gates", [])
    return Bundle(
        version=row.version,
        state=row.state,
        run_id=row.run_id,
        items=row.manifest["dataset"]["items"],
        gates=[Gate.model_validate(gate) for gate in gates],
        metrics=metrics,
        created_at=row.created_at,
        activated_at=row.activated_at,
    )
