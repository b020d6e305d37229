"""How well the live bundle ranks what the new one is tested on.

Its ranker serves today's catalogue, so that is what it is measured on: items that came after it was
made are estimated as they are while it serves. Were they ranked last instead, any new bundle would
be better as soon as users turn to new items.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.training.context import StageContext
from services.training.stages import embed
from services.training.stages.snapshot import Snapshot
from shared.artifacts.bundle import Bundle
from shared.modeling.evaluation import Evaluation, Scorer, evaluate
from shared.modeling.grown_ranker import grown_scorer
from shared.modeling.inheritance import Inheritance
from shared.modeling.item_tables import load_item_tables, own_content
from shared.modeling.metrics import ranking_metrics
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker import load_for_serving
from shared.modeling.sequences import NOT_EVALUATED, ItemRows

METRIC = "ndcg@10"


@dataclass(frozen=True)
class Comparison:
    """nDCG@10 (masked) of both on the test items of the same users."""

    new: float
    live: float
    users: int


def compare_with_live(
    context: StageContext,
    data: Snapshot,
    live: Bundle,
    evaluation: Evaluation,
    watched: Callable[[Scorer], Scorer],
) -> Comparison | None:
    """evaluation: of the new ranker, on all test items. At most `training.gate_users` users, drawn
    by the run's seed, are ranked for by the live one. None where it has no item of today's."""
    content = load_item_tables(context.work.open(embed.NAME))
    inheritance = Inheritance.between(live.catalogue.item_ids, data.item_ids, own_content(content))
    if not inheritance.kept.any():
        return None
    encoders = embed.load_report(context.work.open(embed.NAME))["encoders"]
    scorer = grown_scorer(
        load_for_serving(live.ranker),
        load_quantizer(live.tokenizer),
        inheritance,
        {
            j: table
            for j, table in content.tensors().items()
            if live.manifest.encoders.get(j) == encoders[j.value]
        },
        context.configs.device,
    )
    split = data.split()
    users = _drawn_users(split.test_target, context)
    histories = [split.test_history(int(user)) for user in users]
    former = evaluate(watched(scorer), histories, split.test_target[users])
    places = torch.from_numpy(np.isin(evaluation.users, users))
    return Comparison(
        new=_ndcg(evaluation.masked_ranks[places]), live=former.masked[METRIC], users=len(users)
    )


def _drawn_users(targets: ItemRows, context: StageContext) -> ItemRows:
    users = np.flatnonzero(targets != NOT_EVALUATED)
    most = context.resources.settings.training.gate_users
    if len(users) > most:
        generator = np.random.default_rng(context.configs.seed)
        users = np.sort(generator.choice(users, most, replace=False))
    return users


def _ndcg(ranks: Tensor) -> float:
    return ranking_metrics(ranks)[METRIC]
