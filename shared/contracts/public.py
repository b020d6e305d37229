"""The public API: items, events and recommendations."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from shared.contracts.common import (
    AttributeValue,
    BundleVersion,
    Codes,
    Contract,
    ItemFilter,
    ItemId,
    Problem,
    UserId,
)
from shared.contracts.ranking import FallbackReason, ScoreShares, Source
from shared.modeling.modality import Modality


class ItemCreate(Contract):
    """A new item. The same id with the same content again changes nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "mug-0042",
                "title": "Stoneware mug, ocean blue",
                "description": "Holds 350 ml. Dishwasher safe.",
                "categories": ["Kitchen", "Mugs"],
                "brand": "Nordlys",
                "attributes": {"colour": "blue", "price": 14.5},
                "image_url": "https://shop.example/mug-0042.jpg",
            }
        }
    )

    item_id: ItemId | None = Field(default=None, description="made up by the server if absent")
    title: str = Field(min_length=1, max_length=1000)
    description: str = Field(default="", max_length=50_000)
    categories: list[str] = Field(
        default=[], max_length=50, description="from the general to the special"
    )
    brand: str | None = Field(default=None, max_length=200)
    attributes: dict[str, AttributeValue] = Field(
        default={}, max_length=100, description="what recommendations can be filtered by"
    )
    image_url: str | None = Field(
        default=None, max_length=2000, description="http or https; fetched once, now"
    )
    image_base64: str | None = Field(
        default=None, description="the bytes of a JPEG, PNG, WebP or GIF"
    )

    @model_validator(mode="after")
    def one_image_at_most(self) -> "ItemCreate":
        if self.image_url is not None and self.image_base64 is not None:
            raise ValueError("give image_url or image_base64, not both")
        return self


class ItemPatch(Contract):
    """The fields to change; those left out stay. `null` removes the brand or the image."""

    model_config = ConfigDict(json_schema_extra={"example": {"title": "Stoneware mug, sea blue"}})

    title: str | None = Field(default=None, min_length=1, max_length=1000)
    description: str | None = Field(default=None, max_length=50_000)
    categories: list[str] | None = Field(default=None, max_length=50)
    brand: str | None = Field(default=None, max_length=200)
    attributes: dict[str, AttributeValue] | None = Field(default=None, max_length=100)
    image_url: str | None = Field(default=None, max_length=2000)
    image_base64: str | None = None

    @model_validator(mode="after")
    def changes_something(self) -> "ItemPatch":
        if not self.model_fields_set:
            raise ValueError("give at least one field to change")
        if self.image_url is not None and self.image_base64 is not None:
            raise ValueError("give image_url or image_base64, not both")
        return self


class Item(Contract):
    """An item with its semantic IDs."""

    item_id: ItemId
    version: int
    status: Literal["pending", "ready", "failed"] = Field(
        description="pending: its semantic IDs are being made; failed: `problem` says why"
    )
    title: str
    description: str
    categories: list[str]
    brand: str | None
    attributes: dict[str, AttributeValue]
    image_sha256: str | None
    bundle: BundleVersion | None = Field(description="the bundle whose semantic IDs these are")
    semantic_ids: dict[Modality, Codes] | None = Field(description="L codes a modality")
    imputed: list[Modality] = Field(
        description="modalities whose vector was estimated from similar items"
    )
    problem: Problem | None = None
    created_at: datetime
    updated_at: datetime


class ItemPage(Contract):
    items: list[Item]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class SimilarPublicItem(Contract):
    item_id: ItemId
    title: str
    similarity: float


class SimilarItems(Contract):
    item_id: ItemId
    bundle: BundleVersion
    items: list[SimilarPublicItem]


class BatchRow(Contract):
    """The result of one line of an NDJSON batch."""

    line: int = Field(description="1 is the first line")
    status: int
    item_id: ItemId | None = None
    problem: Problem | None = None


class Event(Contract):
    """Something a user did with an item."""

    user_id: UserId
    item_id: ItemId
    event_type: str = Field(default="interaction", min_length=1, max_length=50)
    timestamp: datetime | None = Field(
        default=None, description="with a time zone; the time of arrival if absent"
    )
    rating: float | None = None
    recommendation_id: str | None = Field(default=None, max_length=64)
    event_id: str | None = Field(
        default=None, max_length=200, description="an event with a known id is not stored again"
    )

    @model_validator(mode="after")
    def timestamp_has_a_zone(self) -> "Event":
        if self.timestamp is not None and self.timestamp.tzinfo is None:
            raise ValueError("timestamp needs a time zone, such as a Z at its end")
        return self


class EventBatch(Contract):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "events": [{"user_id": "u-7", "item_id": "mug-0042", "event_type": "purchase"}]
            }
        }
    )

    events: list[Event] = Field(min_length=1, max_length=1000)


class EventResult(Contract):
    accepted: int
    duplicates: int
    rejected: list[BatchRow] = Field(description="`line` is the place in `events`, from 1")


class RecommendationRequest(Contract):
    """A history, or a user whose events are known. Neither has to be long: one item will do.

    With both, the history is what is ranked by; the user decides which bundle answers while the
    traffic is split, and is counted in its metrics.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"history": ["mug-0001", "teapot-0007"], "k": 5, "exclude_seen": True}
        }
    )

    history: list[ItemId] | None = Field(
        default=None, max_length=10_000, description="item ids, oldest first"
    )
    user_id: UserId | None = None
    k: int = Field(default=10, ge=1, le=1000)
    exclude_seen: bool = True
    filter: ItemFilter = ItemFilter()
    explain: bool = Field(default=True, description="whether the shares of scores are wanted")

    @model_validator(mode="after")
    def history_or_user(self) -> "RecommendationRequest":
        if self.history is None and self.user_id is None:
            raise ValueError("give history or user_id, at least one of the two")
        return self


class Recommendation(Contract):
    item_id: ItemId
    title: str
    score: float
    shares: ScoreShares | None = Field(description="the parts of the score, by modality")


class Recommendations(Contract):
    recommendation_id: str = Field(description="send it with the events that follow")
    bundle: BundleVersion
    engine: str
    source: Source = Field(
        description="popularity without a `fallback`: there was no history to rank by"
    )
    fallback: FallbackReason | None = Field(
        default=None,
        description="why something simpler than the ranker answered; null: nothing did",
    )
    items: list[Recommendation] = Field(description="best first")
    unknown_items: list[ItemId] = Field(description="items of the history that are not known")
