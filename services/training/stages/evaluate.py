"""Seventh stage: leave-one-out over the whole catalogue, and the gates (Sec. 5.1)."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from services.training.context import StageContext
from services.training.gates import code_usage_gate, ranking_gate, spectrum_gate, tau_gate
from services.training.kept_figures import kept_figures
from services.training.live_comparison import compare_with_live
from services.training.stages import collaborative, embed, finetune, quantize, snapshot
from services.training.stages.snapshot import Snapshot
from services.training.warm_start import load_start, open_live
from shared.artifacts.bundle import Bundle
from shared.computing import compute
from shared.contracts.admin import Gate
from shared.database.bundles import BundleRepository
from shared.modeling.analysis import FUSED, INPUT, Analysis, analyse
from shared.modeling.evaluation import Evaluation, Scorer, evaluate, popularity_scorer
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.progress import Progress
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker import load_for_serving, load_item_side
from shared.modeling.sasrec import SASRec
from shared.modeling.sequences import ItemRows

NAME = "evaluate"
METRICS_FILE = "metrics.json"
ANALYSIS_FILE = "analysis.json"
GATES_FILE = "gates.json"
MODELS = ("popularity", "sasrec", "ranker")


async def run(context: StageContext, folder: Path) -> None:
    context.work.remove_checkpoints()
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    async with context.resources.database.transaction() as session:
        row = await BundleRepository(session, context.catalog_id).live()
    live = await compute(
        open_live,
        context.resources.store,
        context.catalog_id,
        None if row is None else row.version,
    )
    await compute(_evaluate, context, data, live, folder)


def load_metrics(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text())
    return document


def load_analysis(folder: Path) -> dict[str, Any]:
    """`Analysis.as_dict`."""
    document: dict[str, Any] = json.loads((folder / ANALYSIS_FILE).read_text())
    return document


def load_gates(folder: Path) -> list[Gate]:
    return TypeAdapter(list[Gate]).validate_json((folder / GATES_FILE).read_bytes())


def _evaluate(context: StageContext, data: Snapshot, live: Bundle | None, folder: Path) -> None:
    total = len(MODELS) + 2
    evaluations: dict[str, Evaluation] = {}
    for done, model in enumerate(MODELS, start=1):
        evaluations[model] = _test(context, model, data)
        figure = {f"{model}_ndcg@10": evaluations[model].masked["ndcg@10"]}
        context.report(Progress(NAME, done, total, figure))
    metrics: dict[str, Any] = {name: found.as_dict() for name, found in evaluations.items()}
    ranking = _ranking_gate(context, data, live, evaluations["ranker"])
    context.report(Progress(NAME, total - 1, total, _live_figure(ranking)))
    encoder, head = load_item_side(context.work.open(finetune.NAME))
    quantizer = load_quantizer(context.work.open(quantize.NAME))
    start = {j: quantizer.code_embeddings(j) for j in quantizer.modalities}
    split = data.split()
    analysis = analyse(encoder, head, start, split.test_histories(), split.test_target)
    metrics |= _figures(analysis)
    kept = _kept(context, data)
    metrics |= kept
    gates = [ranking, *_gates(analysis, encoder)]
    (folder / ANALYSIS_FILE).write_text(json.dumps(analysis.as_dict()))
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2))
    (folder / GATES_FILE).write_bytes(TypeAdapter(list[Gate]).dump_json(gates, indent=2))
    shown = {f"{what}_{j}": share for what, shares in kept.items() for j, share in shares.items()}
    context.report(Progress(NAME, total, total, shown))


def _ranking_gate(
    context: StageContext, data: Snapshot, live: Bundle | None, evaluation: Evaluation
) -> Gate:
    comparison = None
    if live is not None:
        comparison = compare_with_live(
            context, data, live, evaluation, lambda scorer: _watched(scorer, context)
        )
    return ranking_gate(evaluation.masked["ndcg@10"], comparison)


def _live_figure(ranking: Gate) -> dict[str, float]:
    live = ranking.figures.get("live")
    return {} if live is None else {"live_ndcg@10": live}


def _kept(context: StageContext, data: Snapshot) -> dict[str, dict[str, float]]:
    """Of the bundle that the weights come from; empty where they come from none."""
    start = load_start(context.work.open(embed.NAME))
    parent = start.parent_bundle(context.resources.store, context.catalog_id)
    if parent is None:
        return {}
    return kept_figures(
        start,
        parent,
        data.item_ids,
        quantize.load_codes(context.work.open(quantize.NAME)),
        collaborative.load_tables(context.work),
    )


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


def _figures(analysis: Analysis) -> dict[str, Any]:
    """How the codes are used, how much distance information they keep, how far tables collapse."""
    return {
        "semantic_ids": {
            j.value: {
                **analysis.codes[j],
                "kendall_tau": kept.quantized,
                "kendall_tau_fine_tuned": kept.fine_tuned,
            }
            for j, kept in analysis.tau.items()
        },
        "collapsed": {name: spectrum.collapsed for name, spectrum in analysis.spectra.items()},
    }


def _gates(analysis: Analysis, encoder: ItemEncoder) -> list[Gate]:
    gates = [
        code_usage_gate(j, encoder.codes(j), encoder.embeddings(j), analysis.codes[j]["size"])
        for j in encoder.modalities
    ]
    gates += [tau_gate(j, kept) for j, kept in analysis.tau.items()]
    return gates + [spectrum_gate(name, analysis.spectra[name]) for name in (INPUT, FUSED)]
