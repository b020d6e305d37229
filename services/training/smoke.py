"""Real histories, asked of a bundle that is loaded and not live yet, and of the live one in turns.

Both are asked in the same minute by the same client: a machine that is busy is so for both.
"""

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil, isclose, isfinite

import numpy as np
from pydantic import ValidationError

from services.training.context import StageContext
from services.training.patience import patiently
from services.training.stages.snapshot import Snapshot
from shared.contracts.common import BundleReference
from shared.contracts.ranking import RankRequest, RankResponse
from shared.errors import MmesidError, OverloadedError, UnavailableError
from shared.going_live import LOAD_TIMEOUT_S

LONGEST_LIST = 10


@dataclass(frozen=True)
class Trial:
    """One history. problem: what is wrong with the answer, or None. scores: by item.

    live_latency_ms: None where there is no live bundle, or it had no answer.
    """

    problem: str | None
    scores: Mapping[str, float]
    latency_ms: float
    live_latency_ms: float | None = None


async def try_bundle(context: StageContext, data: Snapshot, live: str | None) -> list[Trial]:
    """Ask for the lists of `training.smoke_requests` users, spread evenly over the snapshot.

    Raises UnavailableError where the ranking service stays away.
    """
    item_ids = data.item_ids
    known = set(item_ids)
    trials: list[Trial] = []
    for history in _histories(context, data):
        ids = [item_ids[row] for row in history]
        # Fewer than are left, so that items deleted meanwhile are not missed.
        k = min(LONGEST_LIST, ceil((len(known) - len(set(ids))) / 2))
        if k < 1:
            continue
        request = RankRequest(
            catalog_id=context.catalog_id, history=ids, k=k, explain=False, bundle=context.version
        )
        trial = await _try(context, request, known)
        latency = None
        if live is not None:
            latency = await _latency(context, request.model_copy(update={"bundle": live}))
        trials.append(Trial(trial.problem, trial.scores, trial.latency_ms, latency))
    return trials


def problem_of(answer: RankResponse, request: RankRequest, known: Set[str]) -> str | None:
    """What makes an answer unfit to be shown to a user."""
    items = [item.item_id for item in answer.items]
    if answer.bundle != request.bundle:
        return f"bundle {answer.bundle} answered"
    if answer.source != "ranker":
        return f"{answer.source} answered instead of the ranker ({answer.fallback})"
    if len(items) != request.k:
        return f"{len(items)} items came where {request.k} were asked for"
    if len(set(items)) < len(items):
        return "an item stands in the list twice"
    if seen := set(items) & set(request.history):
        return f"the list holds {min(seen)}, which the user has had"
    if strange := set(items) - known:
        return f"the list holds {min(strange)}, which is not in the catalogue"
    if not all(isfinite(item.score) for item in answer.items):
        return "a score is not finite"
    return None


def all_score_alike(lists: Sequence[Mapping[str, float]]) -> bool:
    """Whether every item has one score wherever it stands: then histories decide nothing, though
    the lists differ, since everyone's leaves out other items."""
    found: dict[str, float] = {}
    shared = False
    for scores in lists:
        for item, score in scores.items():
            if item in found:
                shared = True
                if not isclose(found[item], score, rel_tol=1e-6):
                    return False
            found[item] = score
    return shared


def percentile_95(values: Sequence[float]) -> float:
    """The smallest value that 95 % of them do not exceed."""
    return sorted(values)[ceil(0.95 * len(values)) - 1]


def _histories(context: StageContext, data: Snapshot) -> list[tuple[int, ...]]:
    length = context.configs.ranker.max_history
    different = sorted({tuple(sequence[-length:].tolist()) for sequence in data.sequences})
    number = min(context.resources.settings.training.smoke_requests, len(different))
    places = np.linspace(0, len(different) - 1, number).astype(int)
    return [different[place] for place in places]


async def _try(context: StageContext, request: RankRequest, known: Set[str]) -> Trial:
    ranking = context.resources.ranking

    async def ask() -> tuple[RankResponse, float]:
        try:
            begun = time.perf_counter()
            answer = await ranking.rank(request)
            return answer, _ms_since(begun)
        except UnavailableError:
            # The service may have been started anew, or be another one of several.
            bundle = BundleReference(catalog_id=context.catalog_id, version=context.version)
            await ranking.load_bundle(bundle, timeout_s=LOAD_TIMEOUT_S)
            raise

    begun = time.perf_counter()
    try:
        answer, latency = await patiently(ask, check=context.lease.check)
    except (UnavailableError, OverloadedError):
        raise
    except MmesidError as error:
        return Trial(error.detail, {}, _ms_since(begun))
    except ValidationError as error:
        return Trial(f"the answer breaks the contract: {error}", {}, _ms_since(begun))
    scores = {item.item_id: item.score for item in answer.items}
    return Trial(problem_of(answer, request, known), scores, latency)


async def _latency(context: StageContext, request: RankRequest) -> float | None:
    begun = time.perf_counter()
    try:
        answer = await context.resources.ranking.rank(request)
    except (MmesidError, ValidationError):
        return None
    return _ms_since(begun) if answer.source == "ranker" else None


def _ms_since(begun: float) -> float:
    return 1000 * (time.perf_counter() - begun)
