"""A history to a ranked list, by the best of what can rank it now.

engine -- not there, or past the deadline --> SASRec -- knows nothing of it --> popularity
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from prometheus_client import Counter

from services.ranking.engines.engine import Query, Selection, TopK
from services.ranking.served_bundle import ServedBundle
from shared.contracts.ranking import (
    FallbackReason,
    RankedItem,
    RankRequest,
    RankResponse,
    ScoreShares,
    Source,
)
from shared.errors import UnavailableError, UnknownItemsError
from shared.modeling.modality import Modality

CANCELLED = Counter(
    "mmesid_ranking_cancelled_total", "Requests whose work was given up, by cause.", ["cause"]
)


async def recommend(
    bundle: ServedBundle, request: RankRequest, *, deadline_s: float
) -> RankResponse:
    """The best `k` items that the filter leaves. An empty history gets the most popular ones.

    Where the engine is not there, or has not answered after `deadline_s`, its work for the request
    is cancelled and something simpler answers; `fallback` says why.

    Raises:
        UnknownItemsError: the history is not empty, and none of it is known.
        OverloadedError: too many requests wait, for the engine or for the fallback.
        UnavailableError: the bundle is being closed.
    """
    history, unknown = bundle.catalogue.known(request.history)
    if len(request.history) and not len(history):
        raise UnknownItemsError.of("history", f"none of its {len(unknown)} items is known")
    nothing = np.zeros(0, dtype=np.int64)
    query = Query(
        history,
        Selection(
            k=request.k,
            allowed=bundle.catalogue.allowed(request.filter),
            excluded=history if request.exclude_seen else nothing,
            explain=request.explain,
        ),
    )
    if not len(history):
        return _answer(bundle, "popularity", _popular(bundle, query), unknown)
    reason: FallbackReason
    try:
        async with asyncio.timeout(deadline_s):
            best = await bundle.engine.rank(query)
    except TimeoutError:
        CANCELLED.labels("deadline").inc()
        reason = "deadline"
    except UnavailableError:
        reason = "engine_unavailable"
    else:
        return _answer(bundle, "ranker", _ranked(bundle, best), unknown)
    return await _fall_back(bundle, query, unknown, reason)


async def _fall_back(
    bundle: ServedBundle, query: Query, unknown: Sequence[str], reason: FallbackReason
) -> RankResponse:
    if bundle.fallback is not None:
        visible = bundle.catalogue.visible(query.selection.allowed)
        rows, scores = await bundle.fallback.rank(
            replace(query, selection=replace(query.selection, allowed=visible))
        )
        if len(rows):
            items = _without_shares(bundle, rows.tolist(), scores.tolist())
            return _answer(bundle, "sasrec", items, unknown, reason)
    return _answer(bundle, "popularity", _popular(bundle, query), unknown, reason)


def _answer(
    bundle: ServedBundle,
    source: Source,
    items: list[RankedItem],
    unknown: Sequence[str],
    fallback: FallbackReason | None = None,
) -> RankResponse:
    return RankResponse(
        bundle=bundle.version,
        engine=bundle.engine.name,
        source=source,
        fallback=fallback,
        items=items,
        unknown_items=list(unknown),
    )


def _ranked(bundle: ServedBundle, best: TopK) -> list[RankedItem]:
    if not best.parts.shape[1]:
        return _without_shares(bundle, best.rows.tolist(), best.scores.tolist())
    columns = {modality: place for place, modality in enumerate(bundle.engine.modalities, start=1)}
    items = []
    for row, score, parts in zip(
        best.rows.tolist(), best.scores.tolist(), best.parts.tolist(), strict=True
    ):
        # A modality that the bundle does not have adds nothing to a score.
        part = {j: parts[columns[j]] if j in columns else 0.0 for j in Modality}
        shares = ScoreShares(
            target=parts[0],
            collaborative=part[Modality.COLLABORATIVE],
            text=part[Modality.TEXT],
            visual=part[Modality.VISUAL],
            sequence=parts[len(columns) + 1] if len(parts) > len(columns) + 1 else 0.0,
        )
        item_id = bundle.catalogue.item_id(row)
        items.append(RankedItem(item_id=item_id, score=score, shares=shares))
    return items


def _popular(bundle: ServedBundle, query: Query) -> list[RankedItem]:
    wanted = bundle.catalogue.visible(query.selection.allowed)
    wanted[query.selection.excluded] = False
    rows, frequencies = bundle.catalogue.popular(query.selection.k, wanted)
    return _without_shares(bundle, rows.tolist(), frequencies.tolist())


def _without_shares(
    bundle: ServedBundle, rows: Sequence[int], scores: Sequence[float]
) -> list[RankedItem]:
    return [
        RankedItem(item_id=bundle.catalogue.item_id(row), score=float(score), shares=None)
        for row, score in zip(rows, scores, strict=True)
    ]
