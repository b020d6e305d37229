"""The folder of a bundle from the files of a run's stages."""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.training.context import StageContext
from services.training.report import write_report
from services.training.stages import collaborative, embed, evaluate, finetune, quantize, sequence
from services.training.stages.snapshot import Snapshot
from services.training.warm_start import load_start
from services.training.work_folder import MARK
from shared.artifacts.bundle import (
    Catalogue,
    Manifest,
    write_catalogue,
    write_manifest,
    write_sids,
)
from shared.modeling.item_tables import FILE as TABLES_FILE
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality
from shared.modeling.ranker import Ranker

RECORDED_LIBRARIES = ("mmesid", "torch", "transformers", "peft", "numpy", "safetensors")


def write_bundle(context: StageContext, data: Snapshot, parent: str | None, folder: Path) -> None:
    """Write a complete bundle into an empty folder; the manifest comes last."""
    work = context.work
    parts = {
        collaborative.NAME: "collaborative",
        quantize.NAME: "tokenizer",
        finetune.NAME: "ranker",
    }
    if context.configs.ranker.sequence_weights:
        parts[sequence.NAME] = "sequence"
    for stage, part in parts.items():
        shutil.copytree(
            work.open(stage),
            folder / part,
            ignore=shutil.ignore_patterns(MARK, TABLES_FILE, quantize.CODES_FILE),
        )
    codes = quantize.load_codes(work.open(quantize.NAME))
    write_sids(folder, data.item_ids, {j: rows.numpy() for j, rows in codes.items()})
    tables = collaborative.load_tables(work)
    write_catalogue(folder, _catalogue(context, data, tables))
    manifest = _manifest(context, data, tables, parent)
    write_report(folder, manifest, evaluate.load_analysis(work.open(evaluate.NAME)))
    write_manifest(folder, manifest.model_copy(update={"files": sha256_of_files(folder)}))


def sha256_of_files(folder: Path) -> dict[str, str]:
    """SHA-256 by path within the folder."""
    digests: dict[str, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[file.relative_to(folder).as_posix()] = digest
    return digests


def _catalogue(context: StageContext, data: Snapshot, tables: ItemTables) -> Catalogue:
    ranker = Ranker.load(context.work.open(finetune.NAME))
    with torch.inference_mode():
        input_table = _array(ranker.input_table())
        fused = _array(ranker.fused_matrix())
    return Catalogue(
        item_ids=data.item_ids,
        item_versions=np.array([item.version for item in data.items], dtype=np.int64),
        frequency=data.frequency(),
        input_table=input_table,
        fused=fused,
        embeddings=tables.embeddings,
        imputed=tables.imputed,
    )


def _array(table: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = table.to("cpu", torch.float32).numpy()
    return array


def _manifest(
    context: StageContext, data: Snapshot, tables: ItemTables, parent: str | None
) -> Manifest:
    work = context.work
    report = embed.load_report(work.open(embed.NAME))
    gates = evaluate.load_gates(work.open(evaluate.NAME))
    encoders: Mapping[str, str] = report["encoders"]
    metrics: dict[str, Any] = {
        **evaluate.load_metrics(work.open(evaluate.NAME)),
        "gates": [gate.model_dump() for gate in gates],
    }
    return Manifest(
        catalog_id=context.catalog_id,
        version=context.version,
        created_at=datetime.now(UTC),
        parent=parent,
        dataset={
            **data.describe(),
            "imputed": {j.value: int(mask.sum()) for j, mask in tables.imputed.items()},
            "not_embedded": report["not_embedded"],
        },
        encoders={Modality(name): revision for name, revision in encoders.items()},
        config={
            **context.configs.as_dict(),
            "start": load_start(work.open(embed.NAME)).model_dump(),
        },
        metrics=metrics,
        libraries=_libraries(),
        files={},
    )


def _libraries() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in RECORDED_LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "not installed"
    return found
