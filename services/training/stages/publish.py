"""Last stage: the bundle is written, stored, loaded by the services and made live."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from services.training.bundle_writing import write_bundle
from services.training.context import StageContext
from services.training.gates import failure_of
from services.training.patience import patiently
from services.training.stages import collaborative, evaluate, quantize, snapshot
from services.training.stages.snapshot import Snapshot
from shared.artifacts.bundle import MANIFEST, Manifest, bundle_path
from shared.computing import compute
from shared.contracts.common import BundleReference
from shared.database.arrays import in_chunks
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.errors import MmesidError
from shared.ingestion.change import Change
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress
from shared.notices import BundleActive

NAME = "publish"
STEPS = ("write", "store", "record", "load", "catch_up", "go_live")
LOAD_TIMEOUT_S = 600.0
CATCH_UP_ITEMS = 256

log = structlog.get_logger()


async def run(context: StageContext, folder: Path) -> None:
    """Every step may be repeated: a restarted stage finds what is done and goes on.

    A bundle that fails a gate, or whose request says so, is stored and recorded, but not live.
    """
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    path = bundle_path(context.catalog_id, context.version)
    if not context.resources.store.exists(f"{path}/{MANIFEST}"):
        await _store(context, data, folder)
    manifest = Manifest.model_validate_json(
        await compute(context.resources.store.read, f"{path}/{MANIFEST}")
    )
    _report(context, "store")
    await _record(context, data, manifest)
    _report(context, "record")
    gates = evaluate.load_gates(context.work.open(evaluate.NAME))
    if not context.request.go_live or failure_of(gates) is not None:
        return
    bundle = BundleReference(catalog_id=context.catalog_id, version=context.version)
    await _load(context, bundle)
    _report(context, "load")
    await _catch_up(context)
    _report(context, "catch_up")
    await _go_live(context, data)
    context.lease.ignore_cancelling()
    await _tell(context, bundle)
    _report(context, "go_live")


def _report(context: StageContext, step: str) -> None:
    context.report(Progress(NAME, STEPS.index(step) + 1, len(STEPS)))


async def _store(context: StageContext, data: Snapshot, folder: Path) -> None:
    async with context.resources.database.transaction() as session:
        live = await BundleRepository(session, context.catalog_id).live()
    parent = None if live is None else live.version
    written = folder / "bundle"
    await compute(write_bundle, context, data, parent, written)
    _report(context, "write")
    await context.lease.confirm()
    await compute(
        context.resources.store.upload_folder,
        written,
        bundle_path(context.catalog_id, context.version),
        last=MANIFEST,
    )


async def _record(context: StageContext, data: Snapshot, manifest: Manifest) -> None:
    """The bundle and the semantic IDs of its items, in one transaction of the run's owner."""
    codes = {
        j: rows.numpy() for j, rows in quantize.load_codes(context.work.open(quantize.NAME)).items()
    }
    imputed = collaborative.load_tables(context.work).imputed
    async with context.resources.database.transaction() as session:
        await context.lease.confirm(session)
        bundles = BundleRepository(session, context.catalog_id)
        if await bundles.get(context.version) is not None:
            return
        await bundles.add(context.version, manifest.model_dump(mode="json"), run_id=context.run_id)
        await SemanticIdRepository(session, context.catalog_id).put(
            context.version, _semantic_ids(data, codes, imputed)
        )


def _semantic_ids(
    data: Snapshot,
    codes: Mapping[Modality, NDArray[np.int64]],
    imputed: Mapping[Modality, NDArray[np.bool_]],
) -> list[ItemSemanticIds]:
    return [
        ItemSemanticIds(
            item_id=item.item_id,
            item_version=item.version,
            codes={j: rows[row].tolist() for j, rows in codes.items()},
            imputed=[j for j in codes if imputed[j][row]],
        )
        for row, item in enumerate(data.items)
    ]


async def _load(context: StageContext, bundle: BundleReference) -> None:
    """Both services hold the bundle beside the live one, and have warmed it up."""
    services = context.resources
    for client in (services.tokenization, services.ranking):

        async def load(client: Any = client) -> None:
            await client.load_bundle(bundle, timeout_s=LOAD_TIMEOUT_S)

        await patiently(load, check=context.lease.check)


async def _catch_up(context: StageContext) -> None:
    """Items that came or changed while the run went on get semantic IDs of its bundle as well.

    What cannot be done now is left to the relay, which comes by after the bundle is live.
    """
    last = ""
    while True:
        context.lease.check()
        async with context.resources.database.transaction() as session:
            rows = await ItemRepository(session, context.catalog_id).without_semantic_ids(
                context.version, after_item_id=last, limit=CATCH_UP_ITEMS
            )
        if not rows:
            return
        last = rows[-1].item_id
        outcomes = await context.resources.pipeline.process(
            context.catalog_id,
            [Change(row.item_id, row.version) for row in rows],
            bundle=context.version,
        )
        left = [outcome for outcome in outcomes if not outcome.is_final]
        if left:
            log.warning("items left to the relay", items=len(left), error=str(left[0].error))


async def _go_live(context: StageContext, data: Snapshot) -> None:
    """One transaction: the bundle is live, its items are ready, the rest waits in the outbox."""
    async with context.resources.database.transaction() as session:
        await context.lease.confirm(session)
        await BundleRepository(session, context.catalog_id).make_live(context.version)
        await _mark_ready(session, context.catalog_id, data)
        outbox = OutboxRepository(session)
        await outbox.enqueue_without_semantic_ids(context.catalog_id, context.version)
        await outbox.hasten(context.catalog_id)


async def _mark_ready(session: AsyncSession, catalog_id: str, data: Snapshot) -> None:
    items, outbox = ItemRepository(session, catalog_id), OutboxRepository(session)
    for chunk in in_chunks(list(data.versions.items())):
        ready = await items.mark_ready(dict(chunk))
        await outbox.remove(catalog_id, {item: version for item, version in chunk if item in ready})


async def _tell(context: StageContext, bundle: BundleReference) -> None:
    """The database says what is live, and the services follow it by themselves: this only saves
    them the waiting."""
    services = context.resources
    for name, client in (("tokenization", services.tokenization), ("ranking", services.ranking)):
        try:
            await client.activate_bundle(bundle)
        except MmesidError as error:
            log.warning("service switches later", service=name, error=error.detail)
    await services.notices.publish(
        BundleActive(catalog_id=bundle.catalog_id, version=bundle.version)
    )
