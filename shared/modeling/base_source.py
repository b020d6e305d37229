"""The name of a ranker's base model: where it comes from, and for a tiny one its size."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import InvalidInputError
from shared.modeling.config_checks import require_at_least_one

DTYPES = ("float32", "bfloat16", "float16", "float64")


class BaseKind(StrEnum):
    CHECKPOINT = "checkpoint"
    SMOLLM2 = "smollm2"
    TINY = "tiny"


@dataclass(frozen=True)
class TinyLlama:
    """The size of a Llama that is built from its config and trained with the ranker."""

    hidden_size: int = 64
    intermediate_size: int = 128
    layers: int = 1
    heads: int = 2
    attention_dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least_one(self, "hidden_size", "intermediate_size", "layers", "heads")
        if self.hidden_size % (2 * self.heads):
            raise InvalidInputError.of(
                "hidden_size", f"{self.hidden_size} is no multiple of 2 x {self.heads} heads"
            )
        if not 0 <= self.attention_dropout < 1:
            raise InvalidInputError.of(
                "attention_dropout", f"must be in [0, 1), not {self.attention_dropout}"
            )


@dataclass(frozen=True)
class BaseSource:
    """Names a base model. `name` is the folder or hub id of a checkpoint; `tiny` sizes a tiny one.

    dtype: "float32", "bfloat16" or "float16", the dtype the frozen weights are held in.
    """

    kind: BaseKind = BaseKind.TINY
    name: str = ""
    revision: str | None = None
    dtype: str = "float32"
    tiny: TinyLlama = field(default_factory=TinyLlama)

    def __post_init__(self) -> None:
        if self.kind == BaseKind.CHECKPOINT and not self.name:
            raise InvalidInputError.of("base.name", "a checkpoint needs a folder or a hub id")
        require_dtype(self.dtype)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "BaseSource":
        return cls(
            kind=BaseKind(document["kind"]),
            name=document["name"],
            revision=document["revision"],
            dtype=document["dtype"],
            tiny=TinyLlama(**document["tiny"]),
        )


def require_dtype(name: str) -> None:
    """Raises InvalidInputError for a name that is none of `DTYPES`."""
    if name not in DTYPES:
        raise InvalidInputError.of("base.dtype", f"{name!r} is none of {', '.join(DTYPES)}")
