"""Ranking service: a history to a ranked list over the whole catalogue."""

from typing import Literal

from pydantic import Field

from shared.contracts.common import (
    AttributeValue,
    BundleVersion,
    CatalogId,
    Codes,
    Contract,
    ItemFilter,
    ItemId,
    Neighbour,
    Vector,
)
from shared.modeling.modality import Modality

Source = Literal["ranker", "sasrec", "popularity"]
FallbackReason = Literal["engine_unavailable", "deadline"]


class RankRequest(Contract):
    catalog_id: CatalogId
    history: list[ItemId] = Field(description="oldest first", max_length=10_000)
    k: int = Field(ge=1, le=1000)
    exclude_seen: bool = True
    filter: ItemFilter = ItemFilter()
    explain: bool = Field(default=True, description="whether the shares of scores are wanted")
    bundle: BundleVersion | None = Field(
        default=None, description="a loaded bundle to rank by; the live one if absent"
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        le=600_000,
        description="how long the engine may take before the fallback answers; "
        "`ranking.deadline_s` of the settings if absent",
    )


class ScoreShares(Contract):
    """The parts of a score (Eq. 18, and what SASRec adds); they sum to it."""

    target: float = Field(description="w_x o E_x: the table of target items")
    collaborative: float = Field(description="w_c o (W_c E_c + b_c)")
    text: float = Field(description="w_t o (W_t E_t + b_t)")
    visual: float = Field(description="w_v o (W_v E_v + b_v)")
    sequence: float = Field(default=0.0, description="w h S: SASRec's, where it takes part")


class RankedItem(Contract):
    item_id: ItemId
    score: float
    shares: ScoreShares | None = Field(description="absent unless the source is the ranker")


class RankResponse(Contract):
    bundle: BundleVersion
    engine: str
    source: Source
    fallback: FallbackReason | None = Field(
        default=None,
        description="why something simpler than the ranker answered; null: nothing did",
    )
    items: list[RankedItem] = Field(description="best first; fewer than k if the filter leaves few")
    unknown_items: list[ItemId] = Field(description="history items the catalogue does not know")


class RankableItem(Contract):
    """An item that arrived after the bundle was made: everything its rows are computed from."""

    item_id: ItemId
    version: int
    vectors: dict[Modality, Vector]
    codes: dict[Modality, Codes]
    neighbours: list[Neighbour] = []
    categories: list[str] = []
    attributes: dict[str, AttributeValue] = {}


class UpsertItemsRequest(Contract):
    catalog_id: CatalogId
    bundle: BundleVersion
    items: list[RankableItem] = Field(min_length=1, max_length=1024)
