"""What the contracts of several services share."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _is_printable(value: str) -> str:
    """Ids stand in URLs and log lines."""
    if value != value.strip():
        raise ValueError("must not begin or end with a blank")
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("must not hold control characters such as NUL or a line break")
    return value


ItemId = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_is_printable)
]
UserId = ItemId
CatalogId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
BundleVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

Vector = list[float]
Codes = list[int]
AttributeValue = str | bool | float
Attributes = Mapping[
    Annotated[str, StringConstraints(min_length=1, max_length=100)], AttributeValue
]


class Contract(BaseModel):
    """A request or a response: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ItemFilter(Contract):
    """Which items may be recommended. All given conditions hold together."""

    categories: list[str] = Field(
        default=[], description="the item has at least one of these categories", max_length=100
    )
    attributes: dict[str, AttributeValue | list[AttributeValue]] = Field(
        default={},
        description="the item's attribute equals the value, or one of the values",
        max_length=50,
    )
    allow: list[ItemId] | None = Field(
        default=None, description="only these items", max_length=100_000
    )
    deny: list[ItemId] = Field(default=[], description="none of these items", max_length=100_000)


class Neighbour(Contract):
    """An item near another one. Weights of one item's neighbours sum to 1."""

    item_id: ItemId
    weight: float


class BundleReference(Contract):
    """One version of one catalogue's bundle."""

    catalog_id: CatalogId
    version: BundleVersion


class EngineChoice(Contract):
    """Which engine ranks, and why."""

    name: Literal["vllm", "transformers"]
    reason: str
    requests_per_s: dict[str, float] = Field(
        default={}, description="engine -> what it managed when both were measured"
    )


class BundleStatus(Contract):
    """The bundles that a service holds for one catalogue."""

    catalog_id: CatalogId
    active: BundleVersion | None
    loaded: list[BundleVersion]
    items: int = Field(description="items of the active bundle, later arrivals included")
    engine: EngineChoice | None = Field(default=None, description="of ranking's active bundle")
    engine_ready: bool | None = Field(
        default=None, description="false while that engine starts again and the fallback answers"
    )


class ProblemField(Contract):
    field: str
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document; `errors` names the fields at fault."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:mmesid:problem:invalid-input",
                "title": "The request is not valid",
                "status": 422,
                "detail": "k: Input should be greater than or equal to 1",
                "errors": [{"field": "k", "message": "Input should be greater than or equal to 1"}],
            }
        },
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] = []
