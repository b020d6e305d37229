"""Second stage: E_t and E_v from the embedding service; what items lack is imputed.

The encoders are known then, and with them what the weights of the stages to come start from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from services.training.content_embedding import ContentEmbedder, Vectors, Wanted, item_vectors
from services.training.context import StageContext
from services.training.patience import patiently
from services.training.stages import snapshot
from services.training.stages.snapshot import Snapshot
from services.training.warm_start import decide, open_live, save_start
from shared.computing import compute
from shared.database.bundles import BundleRepository
from shared.database.embeddings import EmbeddingRepository
from shared.errors import InvalidInputError
from shared.modeling.item_tables import ItemTables, impute_content, save_item_tables
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.modeling.progress import Progress

NAME = "embed"
REPORT_FILE = "report.json"
REPORTED_PROBLEMS = 100

log = structlog.get_logger()


@dataclass
class Collected:
    """Rows of the catalogue by modality, and the items that cannot be embedded whole."""

    vectors: dict[Modality, dict[int, NDArray[np.float32]]] = field(
        default_factory=lambda: {modality: {} for modality in CONTENT_MODALITIES}
    )
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, row: int, made: Vectors) -> None:
        for modality, vector in made.items():
            self.vectors[modality][row] = vector


async def run(context: StageContext, folder: Path) -> None:
    """Raises UnavailableError where the embedding service stays away, and InvalidInputError where
    no item has text that can be embedded or the run cannot start as its request says."""
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    revisions = await patiently(context.resources.embedding.revisions, check=context.lease.check)
    collected = await _read_stored(context, data, revisions)
    await _embed_missing(context, data, revisions, collected)
    report = await compute(_write_tables, context, data, collected, folder)
    encoders = {j: revisions[j] for j in revisions if collected.vectors[j]}
    report["encoders"] = {j.value: revision for j, revision in encoders.items()}
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2))
    await _decide_start(context, data, encoders, folder)


def load_report(folder: Path) -> dict[str, Any]:
    """`encoders`: revisions by modality. `problems`: what is wrong with which item."""
    document: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text())
    return document


async def _decide_start(
    context: StageContext, data: Snapshot, encoders: Mapping[Modality, str], folder: Path
) -> None:
    resources = context.resources
    async with resources.database.transaction() as session:
        row = await BundleRepository(session, context.catalog_id).live()
    live = await compute(
        open_live, resources.store, context.catalog_id, None if row is None else row.version
    )
    settings, configs = resources.settings.training, context.configs
    start = await compute(decide, context.request, settings, configs, encoders, data, live)
    save_start(start, folder)
    log.info("start decided", parent=start.parent, stages=start.stages, reason=start.reason)
    context.report(Progress(NAME, len(data.items), len(data.items), start.figures()))


async def _read_stored(
    context: StageContext, data: Snapshot, revisions: Mapping[Modality, str]
) -> Collected:
    collected = Collected()
    row_of = {item.item_id: row for row, item in enumerate(data.items)}
    async with context.resources.database.transaction() as session:
        repository = EmbeddingRepository(session, context.catalog_id)
        for modality, revision in revisions.items():
            found = await repository.of_versions(data.versions, modality, revision)
            for item_id, vector in found.items():
                collected.add(row_of[item_id], {modality: vector})
    return collected


async def _embed_missing(
    context: StageContext,
    data: Snapshot,
    revisions: Mapping[Modality, str],
    collected: Collected,
) -> None:
    """Batches are stored as they are made: a restarted stage does not make them again."""
    resources = context.resources
    embedder = ContentEmbedder(
        resources.embedding,
        resources.store,
        context.catalog_id,
        revisions,
        batch=resources.settings.training.embed_batch,
        check=context.lease.check,
    )
    known = [
        {j for j in CONTENT_MODALITIES if row in collected.vectors[j]}
        for row in range(len(data.items))
    ]
    missing = [row for row, item in enumerate(data.items) if embedder.lacks(item, known[row])]
    done = len(data.items) - len(missing)
    context.report(Progress(NAME, done, len(data.items), {"already_stored": float(done)}))
    async for batch in embedder.embed(
        [Wanted(row, data.items[row], known[row]) for row in missing]
    ):
        for row, made in batch.vectors.items():
            collected.add(row, made)
        collected.problems.update(
            {data.items[row].item_id: problem for row, problem in batch.problems.items()}
        )
        await _store(context, data, revisions, batch.vectors)
        done += len(batch.rows)
        broken = float(len(collected.problems))
        context.report(Progress(NAME, done, len(data.items), {"not_embedded": broken}))


async def _store(
    context: StageContext,
    data: Snapshot,
    revisions: Mapping[Modality, str],
    made: Mapping[int, Vectors],
) -> None:
    async with context.resources.database.transaction() as session:
        await EmbeddingRepository(session, context.catalog_id).put(
            item_vectors(data.items, revisions, made)
        )


def _write_tables(
    context: StageContext, data: Snapshot, collected: Collected, folder: Path
) -> dict[str, Any]:
    if not collected.vectors[Modality.TEXT]:
        raise InvalidInputError.of("items", "no item has a text that could be embedded")
    tables = impute_content(_matrices(collected, len(data.items)))
    save_item_tables(tables, folder)
    imputed = {j.value: int(mask.sum()) for j, mask in tables.imputed.items()}
    context.report(
        Progress(
            NAME,
            len(data.items),
            len(data.items),
            {f"imputed_{name}": float(number) for name, number in imputed.items()},
        )
    )
    return {
        "not_embedded": len(collected.problems),
        "problems": dict(list(collected.problems.items())[:REPORTED_PROBLEMS]),
    }


def _matrices(collected: Collected, items: int) -> ItemTables:
    """Rows without a vector are 0 and marked; a modality that no item has is left out."""
    embeddings: dict[Modality, NDArray[np.float32]] = {}
    imputed: dict[Modality, NDArray[np.bool_]] = {}
    for modality, by_row in collected.vectors.items():
        if not by_row:
            continue
        rows: Sequence[int] = list(by_row)
        table = np.zeros((items, len(next(iter(by_row.values())))), dtype=np.float32)
        table[rows] = np.stack(list(by_row.values()))
        embeddings[modality] = table
        imputed[modality] = np.ones(items, dtype=np.bool_)
        imputed[modality][rows] = False
    return ItemTables(embeddings, imputed)
