"""Last stage: the bundle is written, stored, loaded by the services and made live."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.training.bundle_writing import write_bundle
from services.training.context import StageContext
from services.training.gates import failure_of
from services.training.patience import PATIENCE_S, patiently
from services.training.publish_gates import measured_gates
from services.training.stages import collaborative, evaluate, quantize, snapshot
from services.training.stages.snapshot import Snapshot
from shared.artifacts.bundle import MANIFEST, Manifest, bundle_path
from shared.computing import compute
from shared.contracts.common import BundleReference
from shared.database.bundles import BundleRepository
from shared.database.semantic_ids import ItemSemanticIds, SemanticIdRepository
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress

NAME = "publish"
# An index of a million items takes longer than one request may: the next one waits on.
INDEXING_S_AN_ITEM = 0.005
STEPS = ("write", "store", "record", "load", "try", "catch_up", "go_live")


async def run(context: StageContext, folder: Path) -> None:
    """Every step may be repeated: a restarted stage finds what is done and goes on.

    A bundle that fails a gate, or whose request says so, is stored and recorded, but not live. Two
    of the gates are measured here, once the services have loaded it.
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
    if not await _was_live(context):
        bundle = BundleReference(catalog_id=context.catalog_id, version=context.version)
        going_live = context.resources.going_live
        await patiently(
            lambda: going_live.load(bundle),
            check=context.lease.check,
            at_most_s=PATIENCE_S + INDEXING_S_AN_ITEM * len(data.items),
        )
        _report(context, "load")
        if failure_of(await measured_gates(context, data)) is not None:
            return
        _report(context, "try")
        await _go_live(context, data, bundle)
    _report(context, "go_live")


async def _was_live(context: StageContext) -> bool:
    """A restarted stage must not bring back a bundle that somebody rolled back meanwhile."""
    async with context.resources.database.transaction() as session:
        row = await BundleRepository(session, context.catalog_id).get(context.version)
    return row is not None and row.activated_at is not None


async def _go_live(context: StageContext, data: Snapshot, bundle: BundleReference) -> None:
    going_live = context.resources.going_live
    await going_live.catch_up(bundle, check=context.lease.check)
    _report(context, "catch_up")
    await going_live.go_live(bundle, confirm=context.lease.confirm, made_from=data.versions)
    context.lease.ignore_cancelling()
    await going_live.tell(bundle)


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
        bundles = BundleRepository(session, context.catalog_id)
        if await bundles.get(context.version) is not None:
            return
        await bundles.add(context.version, manifest.model_dump(mode="json"), run_id=context.run_id)
        semantic_ids = SemanticIdRepository(session, context.catalog_id)
        await semantic_ids.put(context.version, _semantic_ids(data, codes, imputed))
        await semantic_ids.refresh_statistics()
        # Last, since it locks the run's row: a heartbeat would wait for all those rows.
        await context.lease.confirm(session)


def _semantic_ids(
    data: Snapshot,
    codes: Mapping[Modality, NDArray[np.int64]],
    imputed: Mapping[Modality, NDArray[np.bool_]],
) -> Iterator[ItemSemanticIds]:
    for row, item in enumerate(data.items):
        yield ItemSemanticIds(
            item_id=item.item_id,
            item_version=item.version,
            codes={j: rows[row].tolist() for j, rows in codes.items()},
            imputed=[j for j in codes if imputed[j][row]],
        )
