"""A training run that has nothing left to do but publish: made-up files of all stages before.

Its weights are random, of the sizes that a run by the default settings trains.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.ranking_parts.made_up_bundle import CODES, made_up_ranker, popularity
from benchmarks.ranking_parts.shapes import SHAPES
from benchmarks.training_parts.clustered import clustered
from services.training.model_card import SHOWN_METRICS
from services.training.stages import (
    collaborative,
    embed,
    evaluate,
    finetune,
    quantize,
    sequence,
    snapshot,
)
from services.training.stages.snapshot import Snapshot, SnapshotItem
from services.training.warm_start import COLD, Start, save_start
from services.training.work_folder import WorkFolder
from shared.contracts.admin import StageProgress
from shared.modeling.analysis import INPUT, Analysis
from shared.modeling.item_tables import ItemTables, save_item_tables
from shared.modeling.mm_rq_vae import MMRQVAE
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.ranker import Ranker
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart
from shared.modeling.spectrum import spectrum_of

USERS, HISTORY = 2000, 9
ENCODERS = {modality: f"made-up-{modality.value}@1" for modality in CONTENT_MODALITIES}


def item_id(row: int) -> str:
    """As in the table of items that `publish.py` fills."""
    return f"item-{row:07d}"


def made_up_snapshot(items: int) -> Snapshot:
    """All items in their first version, and 2,000 users of nine interactions."""
    chosen = np.random.default_rng(0).choice(items, size=(USERS, HISTORY), p=popularity(items))
    return Snapshot(
        items=[
            SnapshotItem(item_id(row), 1, str(row), f"Item {row}", None) for row in range(items)
        ],
        sequences=list(chosen.astype(np.int64)),
        unknown_interactions=0,
        short_sequences=0,
        non_positive=0,
        repeated=0,
    )


@torch.no_grad()
def write_stages(work: WorkFolder, data: Snapshot, widths: Mapping[Modality, int]) -> ItemTables:
    """All stages but the last, complete. Returns E_j [I, D_j]: they are the same in every part."""
    torch.manual_seed(0)
    items = len(data.items)
    ranker = made_up_ranker(SHAPES["tiny"], clustered(items, widths))
    sasrec = SASRec(items, SASRecConfig(dimension=widths[Modality.COLLABORATIVE]))
    ranker.sequence_part = SequencePart.of(sasrec, sasrec.output_embeddings(), 0.5)
    encoder = ranker.item_encoder
    tables = ItemTables(
        {j: encoder.embeddings(j).numpy() for j in encoder.modalities},
        {j: np.zeros(items, dtype=np.bool_) for j in encoder.modalities},
    )
    codes = {j.value: encoder.codes(j) for j in encoder.modalities}
    config = MMRQVAEConfig(dimension=encoder.dimension)
    writers: Mapping[str, Callable[[Path], None]] = {
        snapshot.NAME: lambda folder: snapshot.save_snapshot(data, folder),
        embed.NAME: lambda folder: _write_embed(folder, tables),
        collaborative.NAME: lambda folder: _write_collaborative(folder, sasrec, tables),
        sequence.NAME: sasrec.save,
        quantize.NAME: lambda folder: _write_quantize(
            folder, MMRQVAE(widths, CODES, config), codes
        ),
        finetune.NAME: ranker.save,
        evaluate.NAME: lambda folder: _write_evaluate(folder, ranker),
    }
    for stage, write in writers.items():
        write(work.begin(stage))
        work.complete(stage, StageProgress(stage=stage, done=1, total=1))
    return tables


def _write_embed(folder: Path, tables: ItemTables) -> None:
    save_item_tables(_only(tables, CONTENT_MODALITIES), folder)
    report = {"encoders": {j.value: r for j, r in ENCODERS.items()}, "not_embedded": 0}
    (folder / embed.REPORT_FILE).write_text(json.dumps(report))
    save_start(Start(parent=None, stages=dict(COLD), reason="it is made up"), folder)


def _write_collaborative(folder: Path, sasrec: SASRec, tables: ItemTables) -> None:
    sasrec.save(folder)
    save_item_tables(_only(tables, (Modality.COLLABORATIVE,)), folder)


def _write_quantize(folder: Path, model: MMRQVAE, codes: dict[str, torch.Tensor]) -> None:
    model.save(folder)
    save_file(codes, folder / quantize.CODES_FILE)


def _write_evaluate(folder: Path, ranker: Ranker) -> None:
    """Nothing was measured: every figure is 0, and no gate has anything against the bundle."""
    figures = {side: dict.fromkeys(SHOWN_METRICS, 0.0) for side in ("masked", "unmasked")}
    metrics = {**dict.fromkeys(evaluate.MODELS, figures), "semantic_ids": {}, "collapsed": {}}
    spectra = {INPUT: spectrum_of(ranker.item_encoder(torch.arange(8)))}
    (folder / evaluate.METRICS_FILE).write_text(json.dumps(metrics))
    (folder / evaluate.ANALYSIS_FILE).write_text(json.dumps(Analysis(spectra).as_dict()))
    (folder / evaluate.GATES_FILE).write_text("[]")


def _only(tables: ItemTables, modalities: tuple[Modality, ...]) -> ItemTables:
    embeddings: dict[Modality, NDArray[np.float32]] = {j: tables.embeddings[j] for j in modalities}
    return ItemTables(embeddings, {j: tables.imputed[j] for j in modalities})
