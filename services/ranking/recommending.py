"""A history to a ranked list."""

import numpy as np

from services.ranking.engine import Query, Selection, TopK
from services.ranking.served_bundle import ServedBundle
from shared.contracts.ranking import RankedItem, RankRequest, RankResponse, ScoreShares
from shared.errors import UnknownItemsError
from shared.modeling.modality import Modality


async def recommend(bundle: ServedBundle, request: RankRequest) -> RankResponse:
    """The best `k` items that the filter leaves. An empty history gets the most popular ones.

    Raises:
        UnknownItemsError: the history is not empty, and none of it is known.
        OverloadedError, UnavailableError: as the engine does.
    """
    history, unknown = bundle.catalogue.known(request.history)
    if len(request.history) and not len(history):
        raise UnknownItemsError.of("history", f"none of its {len(unknown)} items is known")
    if not len(history):
        return _popular(bundle, request)
    nothing = np.zeros(0, dtype=np.int64)
    best = await bundle.engine.rank(
        Query(
            history,
            Selection(
                k=request.k,
                allowed=bundle.catalogue.allowed(request.filter),
                excluded=history if request.exclude_seen else nothing,
            ),
        )
    )
    return RankResponse(
        bundle=bundle.version,
        engine=bundle.engine.name,
        source="ranker",
        items=_ranked(bundle, best),
        unknown_items=unknown,
    )


def _ranked(bundle: ServedBundle, best: TopK) -> list[RankedItem]:
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
        )
        item_id = bundle.catalogue.item_id(row)
        items.append(RankedItem(item_id=item_id, score=score, shares=shares))
    return items


def _popular(bundle: ServedBundle, request: RankRequest) -> RankResponse:
    catalogue = bundle.catalogue
    rows, frequencies = catalogue.popular(request.k, catalogue.allowed(request.filter))
    return RankResponse(
        bundle=bundle.version,
        engine=bundle.engine.name,
        source="popularity",
        items=[
            RankedItem(item_id=catalogue.item_id(row), score=float(frequency), shares=None)
            for row, frequency in zip(rows.tolist(), frequencies.tolist(), strict=True)
        ],
        unknown_items=[],
    )
