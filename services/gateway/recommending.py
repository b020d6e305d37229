"""A history, or a user's, to a ranked list with titles."""

import time
from datetime import UTC, datetime
from uuid import uuid4

from prometheus_client import Counter

from services.gateway.recommendation_log import RecommendationLog
from services.gateway.storable import require_storable
from services.gateway.traffic_split import TrafficSplit
from shared.clients.ranking import RankingClient
from shared.contracts.public import Recommendation, RecommendationRequest, Recommendations
from shared.contracts.ranking import RankRequest, RankResponse
from shared.database.interactions import InteractionRepository
from shared.database.items import ItemRepository
from shared.database.recommendations import GivenRecommendation
from shared.database.session import Database
from shared.errors import FieldProblem, UnavailableError, UnknownItemsError

LEFT_TO_LIVE = Counter(
    "mmesid_gateway_left_to_live_total",
    "Requests of a bundle's share of the users that it could not answer: the live one was asked.",
    ["bundle"],
)


class Recommender:
    def __init__(
        self,
        database: Database,
        ranking: RankingClient,
        split: TrafficSplit,
        given: RecommendationLog,
        *,
        history_limit: int,
    ) -> None:
        self._database = database
        self._ranking = ranking
        self._split = split
        self._given = given
        self._history_limit = history_limit

    async def recommend(self, catalog_id: str, request: RecommendationRequest) -> Recommendations:
        """The best items for a history. Unknown items in it are reported and otherwise ignored.

        An empty history, and that of a user of whom no known item is left, gives popular items.

        Raises:
            UnknownItemsError: none of the items of the history sent is known.
            OverloadedError: too many requests wait for the ranking.
            UnavailableError: the ranking service does not answer, or no bundle is live.
        """
        began = time.perf_counter()
        require_storable(request)
        bundle = await self._split.bundle_for(catalog_id, request.user_id)
        if request.history is not None:
            ranked = await self._rank(catalog_id, request, request.history, bundle)
            if request.history and set(request.history) <= set(ranked.unknown_items):
                raise _all_unknown()
        else:
            ranked = await self._rank_user(catalog_id, request, bundle)
        answer = await self._with_titles(catalog_id, ranked)
        self._given.add(_given(catalog_id, request, answer, time.perf_counter() - began))
        return answer

    async def _rank_user(
        self, catalog_id: str, request: RecommendationRequest, bundle: str | None
    ) -> RankResponse:
        async with self._database.transaction() as session:
            history = await InteractionRepository(session, catalog_id).history(
                str(request.user_id), limit=self._history_limit
            )
        try:
            return await self._rank(catalog_id, request, history, bundle)
        except UnknownItemsError:
            popular = await self._rank(catalog_id, request, [], bundle)
            return popular.model_copy(update={"unknown_items": list(dict.fromkeys(history))})

    async def _rank(
        self,
        catalog_id: str,
        request: RecommendationRequest,
        history: list[str],
        bundle: str | None,
    ) -> RankResponse:
        """By the bundle named, or by the live one where that cannot answer."""
        asked = RankRequest(
            catalog_id=catalog_id,
            history=history,
            k=request.k,
            exclude_seen=request.exclude_seen,
            filter=request.filter,
            explain=request.explain,
        )
        if bundle is not None:
            try:
                return await self._ranking.rank(asked.model_copy(update={"bundle": bundle}))
            except UnavailableError:
                LEFT_TO_LIVE.labels(bundle).inc()
        return await self._ranking.rank(asked)

    async def _with_titles(self, catalog_id: str, ranked: RankResponse) -> Recommendations:
        """Items deleted at this very moment are left out."""
        async with self._database.transaction() as session:
            rows = await ItemRepository(session, catalog_id).get_many(
                [item.item_id for item in ranked.items]
            )
        return Recommendations(
            recommendation_id=str(uuid4()),
            bundle=ranked.bundle,
            engine=ranked.engine,
            source=ranked.source,
            fallback=ranked.fallback,
            items=[
                Recommendation(
                    item_id=item.item_id,
                    title=rows[item.item_id].title,
                    score=item.score,
                    shares=item.shares,
                )
                for item in ranked.items
                if item.item_id in rows
            ],
            unknown_items=ranked.unknown_items,
        )


def _given(
    catalog_id: str, request: RecommendationRequest, answer: Recommendations, seconds: float
) -> GivenRecommendation:
    return GivenRecommendation(
        catalog_id=catalog_id,
        recommendation_id=answer.recommendation_id,
        bundle=answer.bundle,
        user_id=request.user_id,
        source=answer.source,
        fallback=answer.fallback,
        item_ids=[item.item_id for item in answer.items],
        latency_ms=seconds * 1000,
        served_at=datetime.now(UTC),
    )


def _all_unknown() -> UnknownItemsError:
    cause = "none of these items is known; with an empty history, popular items are recommended"
    return UnknownItemsError(f"history: {cause}", fields=[FieldProblem("history", cause)])
