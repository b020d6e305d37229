"""How SASRec is trained: every choice, and what it may be."""

from dataclasses import dataclass
from typing import Literal

from shared.errors import InvalidInputError
from shared.modeling.config_checks import require_at_least_one


@dataclass(frozen=True)
class SASRecConfig:
    """Defaults tuned on validation nDCG@10 with some hundred interactions a user. Where users have
    about ten, batches of 128 train faster and no worse.

    positions: "relative" (a bias of attention by distance) or "absolute" (an embedding a place,
    counted from the oldest item).
    start: "random", or "content": item embeddings start as their content's principal directions,
    so that like items are near one another before anybody bought them.
    loss: "full" (softmax over the catalogue), "sampled" (softmax over `negatives` uniform items),
    "bce" (`negatives` uniform items a position), or "auto": full up to 20,000 items, else sampled.
    patience: validations without a better nDCG@10 before training stops.
    validation_users: at most this many, drawn by the seed, are ranked after each epoch.
    """

    dimension: int = 64
    blocks: int = 1
    heads: int = 1
    feedforward: int = 256
    dropout: float = 0.3
    max_length: int = 50
    positions: Literal["relative", "absolute"] = "relative"
    start: Literal["random", "content"] = "random"
    loss: Literal["auto", "full", "sampled", "bce"] = "auto"
    negatives: int = 512
    epochs: int = 200
    patience: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    validation_users: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least_one(
            self,
            "dimension", "blocks", "heads", "feedforward", "max_length", "negatives", "epochs",
            "patience", "batch_size", "validation_users",
        )  # fmt: skip
        if self.dimension % self.heads:
            raise InvalidInputError.of("heads", f"must divide the dimension {self.dimension}")
        if not 0 <= self.dropout < 1:
            raise InvalidInputError.of("dropout", f"must be in [0, 1), not {self.dropout}")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise InvalidInputError.of("learning_rate", "must be above 0, weight_decay at least 0")
        if self.positions not in ("relative", "absolute"):
            raise InvalidInputError.of("positions", f"is unknown: {self.positions}")
        if self.start not in ("random", "content"):
            raise InvalidInputError.of("start", f"is unknown: {self.start}")
        if self.loss not in ("auto", "full", "sampled", "bce"):
            raise InvalidInputError.of("loss", f"is unknown: {self.loss}")
