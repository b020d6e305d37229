"""The gates that a bundle meets once the services have loaded it: smoke and latency.

The bundle's files are complete by then and never change, so what these gates found is added to the
manifest in the bundle's row. There a restarted run finds it, the admin API, and the run's end.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from services.training.context import StageContext
from services.training.gates import SMOKE, latency_gate, smoke_gate
from services.training.smoke import try_bundle
from services.training.stages.snapshot import Snapshot
from shared.contracts.admin import Gate
from shared.database.bundles import BundleRepository
from shared.errors import NotFoundError


async def measured_gates(context: StageContext, data: Snapshot) -> list[Gate]:
    """All gates of the bundle. Its requests are made once: another owner of the run finds them."""
    async with context.resources.database.transaction() as session:
        gates = await recorded_gates(session, context.catalog_id, context.version)
        live = await BundleRepository(session, context.catalog_id).live()
    if SMOKE in {gate.name for gate in gates}:
        return gates
    trials = await try_bundle(context, data, None if live is None else live.version)
    gates.append(smoke_gate(trials))
    if trials:
        settings = context.resources.settings.training
        gates.append(
            latency_gate(
                trials, enough_ms=settings.latency_gate_ms, factor=settings.latency_gate_factor
            )
        )
    async with context.resources.database.transaction() as session:
        await context.lease.confirm(session)
        bundles = BundleRepository(session, context.catalog_id)
        await bundles.set_gates(context.version, [gate.model_dump() for gate in gates])
    return gates


async def recorded_gates(session: AsyncSession, catalog_id: str, version: str) -> list[Gate]:
    """As far as they were measured. Raises NotFoundError where the bundle is not recorded."""
    row = await BundleRepository(session, catalog_id).get(version)
    if row is None:
        raise NotFoundError(f"bundle {version} of catalogue {catalog_id} does not exist")
    return [Gate.model_validate(gate) for gate in row.manifest["metrics"]["gates"]]
