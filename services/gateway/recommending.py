"""A history, or a user's, to a ranked list with titles."""

from uuid import uuid4

from services.gateway.storable import require_storable
from shared.clients.ranking import RankingClient
from shared.contracts.public import Recommendation, RecommendationRequest, Recommendations
from shared.contracts.ranking import RankRequest, RankResponse
from shared.database.interactions import InteractionRepository
from shared.database.items import ItemRepository
from shared.database.session import Database
from shared.errors import FieldProblem, UnknownItemsError
from shared.settings import EventSettings


class Recommender:
    def __init__(
        self,
        database: Database,
        ranking: RankingClient,
        *,
        history_limit: int,
        positives: EventSettings,
    ) -> None:
        self._database = database
        self._ranking = ranking
        self._history_limit = history_limit
        self._positives = positives

    async def recommend(self, catalog_id: str, request: RecommendationRequest) -> Recommendations:
        """The best items for a history. Unknown items in it are reported and otherwise ignored.

        An empty history, and that of a user of whom no known item is left, gives popular items.

        Raises:
            UnknownItemsError: none of the items of the history sent is known.
            OverloadedError: too many requests wait for the ranking.
            UnavailableError: the ranking service does not answer, or no bundle is live.
        """
        require_storable(request)
        if request.history is not None:
            ranked = await self._rank(catalog_id, request, request.history)
            if request.history and set(request.history) <= set(ranked.unknown_items):
                raise _all_unknown()
        else:
            ranked = await self._rank_user(catalog_id, request)
        return await self._with_titles(catalog_id, ranked)

    async def _rank_user(self, catalog_id: str, request: RecommendationRequest) -> RankResponse:
        async with self._database.transaction() as session:
            interactions = InteractionRepository(session, catalog_id)
            history = await interactions.history(
                str(request.user_id), limit=self._history_limit, rule=self._positives
            )
            if request.exclude_seen:
                seen = await interactions.seen(str(request.user_id))
                request = _without(request, seen.difference(history))
        try:
            return await self._rank(catalog_id, request, history)
        except UnknownItemsError:
            popular = await self._rank(catalog_id, request, [])
            return popular.model_copy(update={"unknown_items": list(dict.fromkeys(history))})

    async def _rank(
        self, catalog_id: str, request: RecommendationRequest, history: list[str]
    ) -> RankResponse:
        return await self._ranking.rank(
            RankRequest(
                catalog_id=catalog_id,
                history=history,
                k=request.k,
                exclude_seen=request.exclude_seen,
                filter=request.filter,
                explain=request.explain,
            )
        )

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


def _without(request: RecommendationRequest, item_ids: set[str]) -> RecommendationRequest:
    """What the user disliked is no part of the history, and was seen all the same."""
    deny = [*request.filter.deny, *sorted(item_ids)]
    return request.model_copy(update={"filter": request.filter.model_copy(update={"deny": deny})})


def _all_unknown() -> UnknownItemsError:
    cause = "none of these items is known; with an empty history, popular items are recommended"
    return UnknownItemsError(f"history: {cause}", fields=[FieldProblem("history", cause)])
