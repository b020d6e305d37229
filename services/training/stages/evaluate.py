"""Sixth stage: leave-one-out over the whole catalogue, and the gates (Sec. 5.1)."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from services.training.context import StageContext
from services.training.gates import Gate, code_usage_gate, live_ndcg_of, ranking_gate
from services.training.stages import collaborative, embed, finetune, quantize, snapshot
from services.training.stages.snapshot import Snapshot
from shared.computing import compute
from shared.database.bundles import BundleRepository
from shared.modeling.evaluation import Evaluation, Scorer, evaluate, popularity_scorer
from shared.modeling.item_tables import load_item_tables
from shared.modeling.kendall import behavioural_target_distances, kendall_tau
from shared.modeling.progress import Progress
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker import load_for_serving
from shared.modeling.residual_quantizer import code_statistics
from shared.modeling.sasrec import SASRec
from shared.modeling.sequences import ItemRows

NAME = "evaluate"
METRICS_FILE = "metrics.json"
GATES_FILE = "gates.json"
MODELS = ("popularity", "sasrec", "ranker")


async def run(context: StageContext, folder: Path) -> None:
    context.work.remove_checkpoints()
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    async with context.resources.database.transaction() as session:
        live = await BundleRepository(session, context.catalog_id).live()
    live_ndcg = None if live is None else live_ndcg_of(live.manifest, data.sha256())
    await compute(_evaluate, context, data, live_ndcg, folder)


def load_metrics(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text())
    return document


def load_gates(folder: Path) -> list[Gate]:
    return TypeAdapter(list[Gate]).validate_json((folder / GATES_FILE).read_bytes())


def _evaluate(context: StageContext, data: Snapshot, live_ndcg: float | None, folder: Path) -> None:
    metrics: dict[str, Any] = {}
    total = len(MODELS) + 1
    for done, model in enumerate(MODELS, start=1):
        evaluation = _test(context, model, data)
        metrics[model] = evaluation.as_dict()
        figure = {f"{model}_ndcg@10": evaluation.masked["ndcg@10"]}
        context.report(Progress(NAME, done, total, figure))
    metrics["semantic_ids"], gates = _semantic_ids(context, data)
    gates.insert(0, ranking_gate(metrics["ranker"]["masked"]["ndcg@10"], live_ndcg))
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2))
    (folder / GATES_FILE).write_bytes(TypeAdapter(list[Gate]).dump_json(gates, indent=2))
    context.report(Progress(NAME, total, total))


def _test(context: StageContext, model: str, data: Snapshot) -> Evaluation:
    """Metrics on the test targets; history is all that came before, validation included."""
    split = data.split()
    return evaluate(
        _watched(_scorer(context, model, data), context),
        split.test_histories(),
        split.test_target,
        frequency=data.frequency(),
    )


def _watched(score: Scorer, context: StageContext) -> Scorer:
    """Stop between batches where the run must stop."""

    def scored(histories: list[ItemRows]) -> Tensor:
        context.lease.check()
        return score(histories)

    return scored


def _scorer(context: StageContext, model: str, data: Snapshot) -> Scorer:
    device = context.configs.device
    if model == "popularity":
        return popularity_scorer(data.frequency())
    if model == "sasrec":
        return SASRec.load(context.work.open(collaborative.NAME)).to(device).score
    return load_for_serving(context.work.open(finetune.NAME)).to(device).scorer()


def _semantic_ids(context: StageContext, data: Snapshot) -> tuple[dict[str, Any], list[Gate]]:
    """How the codes are used, and how much distance information they keep (Sec. 3.2)."""
    tables = load_item_tables(context.work.open(embed.NAME))
    model = load_quantizer(context.work.open(quantize.NAME))
    codes = quantize.load_codes(context.work.open(quantize.NAME))
    quantized = model.quantized(codes)
    figures: dict[str, Any] = {}
    gates = []
    for modality in model.modalities:
        embeddings = torch.from_numpy(tables.embeddings[modality])
        figures[modality.value] = {
            **code_statistics(codes[modality], model.codebook_size),
            "kendall_tau": _kept_distances(data, embeddings, quantized[modality]),
        }
        gates.append(code_usage_gate(modality, codes[modality], embeddings, model.codebook_size))
    return figures, gates


def _kept_distances(data: Snapshot, embeddings: Tensor, quantized: Tensor) -> float | None:
    """Kendall's tau between the distances of histories to targets before and after (Eq. 9)."""
    split = data.split()
    histories, targets = split.test_histories(), split.test_target
    before = behavioural_target_distances(embeddings, histories, targets)
    after = behavioural_target_distances(quantized, histories, targets)
    return kendall_tau(before, after) if len(before) >= 2 else None
