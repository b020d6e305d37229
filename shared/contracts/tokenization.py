"""Tokenization service: vectors to semantic IDs, and the index of similar items."""

from pydantic import Field

from shared.contracts.common import (
    AttributeValue,
    BundleVersion,
    CatalogId,
    Codes,
    Contract,
    ItemId,
    Neighbour,
    Vector,
)
from shared.modeling.modality import Modality


class TokenizeItem(Contract):
    """The vectors an item has. A modality that is missing is imputed from its neighbours."""

    item_id: ItemId
    vectors: dict[Modality, Vector] = Field(min_length=1)


class TokenizeRequest(Contract):
    catalog_id: CatalogId
    bundle: BundleVersion | None = Field(default=None, description="the live one by default")
    items: list[TokenizeItem] = Field(min_length=1, max_length=256)


class TokenizedItem(Contract):
    item_id: ItemId
    codes: dict[Modality, Codes] = Field(description="L codes a modality")
    imputed: dict[Modality, Vector] = Field(
        description="vectors the item did not bring, estimated from its content neighbours"
    )
    neighbours: list[Neighbour] = Field(description="the neighbours that were used for it")


class TokenizeResponse(Contract):
    bundle: BundleVersion
    items: list[TokenizedItem]


class IndexItem(Contract):
    """An item as it stands in the index. An older version never replaces a newer one."""

    item_id: ItemId
    version: int
    vectors: dict[Modality, Vector]
    codes: dict[Modality, Codes]
    categories: list[str] = []
    attributes: dict[str, AttributeValue] = {}


class IndexRequest(Contract):
    catalog_id: CatalogId
    bundle: BundleVersion
    items: list[IndexItem] = Field(min_length=1, max_length=1024)


class SimilarItem(Contract):
    item_id: ItemId
    similarity: float = Field(description="cosine similarity, -1 to 1")


class SimilarResponse(Contract):
    bundle: BundleVersion
    items: list[SimilarItem]
