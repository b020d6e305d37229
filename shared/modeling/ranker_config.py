"""How the ranker is trained: every choice, and what it may be."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import InvalidInputError
from shared.modeling.prompt import DEFAULT_MAX_HISTORY


class RankerLoss(StrEnum):
    FULL = "full"
    SAMPLED = "sampled"
    BCE = "bce"


class Schedule(StrEnum):
    CONSTANT = "constant"
    LINEAR = "linear"


class Precision(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class LoraSpec:
    """LoRA on the gate, up and down projections; the paper's sizes."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise InvalidInputError.of(f"lora.{name}", "must be at least 1")
        if not 0 <= self.dropout < 1:
            raise InvalidInputError.of("lora.dropout", "must be in [0, 1)")


@dataclass(frozen=True)
class RankerConfig:
    """How the ranker is trained. The defaults are those of the small profile.

    train_base: train the base's own weights beside LoRA (a base of random weights needs it).
    learning_rate_base: of the LLM's parameters; learning_rate_new: of the item encoder and head.
    batch_size: windows of at most `max_history` targets, of all processes together. negatives:
    items sampled for a batch (by each process and at each part of it, for its own).
    patience: epochs without a better validation nDCG@10 before training stops.
    alignment: the weight of InfoNCE between projected E_c and projected text and images, of the
    items of a batch (CTRL; 0 in MME-SID).
    sequence_weights: what the scores of a SASRec may count beside the LLM's
    (`sequence_part.py`). After training the best of them on validation is taken, or none of them
    where the LLM alone is better. Without any, SASRec takes no part (the paper's ranker).
    schedule: learning rates stay, or fall linearly to LOWEST_RATE of theirs over all epochs.
    checkpoint_every: steps between checkpoints, where a folder for them is given.
    precision: of the LLM's products: that of its weights (float32), or mixed (bfloat16). The item
    encoder, the fusion head, the loss and the optimizer stay in float32.
    four_bit: hold the frozen base in 4 bits (NF4) while training; `load_base` says what that needs.
    gradient_checkpointing: keep of each of the LLM's layers its input only, and compute it again
    for the gradient. gradient_accumulation: parts in which a process takes its share of a batch.
    sharded: spread the weights over the processes (FSDP); otherwise each has all of them.
    """

    epochs: int = 20
    patience: int = 3
    batch_size: int = 32
    learning_rate_base: float = 1e-3
    learning_rate_new: float = 5e-4
    weight_decay: float = 0.01
    warm_up_steps: int = 50
    gradient_clip: float = 1.0
    item_dropout: float = 0.3
    state_dropout: float = 0.3
    loss: RankerLoss = RankerLoss.FULL
    negatives: int = 512
    max_history: int = DEFAULT_MAX_HISTORY
    train_base: bool = True
    lora: LoraSpec = field(default_factory=LoraSpec)
    temperature: float = 1.0
    content_scale: float = 0.5
    alignment: float = 0.0
    alignment_temperature: float = 0.1
    sequence_weights: tuple[float, ...] = ()
    schedule: Schedule = Schedule.CONSTANT
    checkpoint_every: int = 500
    precision: Precision = Precision.FLOAT32
    four_bit: bool = False
    gradient_checkpointing: bool = False
    gradient_accumulation: int = 1
    sharded: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "patience",
            "batch_size",
            "negatives",
            "max_history",
            "checkpoint_every",
            "gradient_accumulation",
        ):
            if getattr(self, name) < 1:
                raise InvalidInputError.of(f"ranker.{name}", "must be at least 1")
        for name in ("item_dropout", "state_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInputError.of(f"ranker.{name}", "must be in [0, 1)")
        if any(not weight > 0 for weight in self.sequence_weights):
            raise InvalidInputError.of("ranker.sequence_weights", "must be above 0")
        if self.schedule not in set(Schedule):
            raise InvalidInputError.of("ranker.schedule", f"is none of {', '.join(Schedule)}")
        if self.precision not in set(Precision):
            raise InvalidInputError.of(
                "ranker.precision", f"{self.precision!r} is none of {', '.join(Precision)}"
            )
        if self.four_bit and self.train_base:
            raise InvalidInputError.of("ranker.four_bit", "needs a frozen base: train_base: false")
        if self.four_bit and self.sharded:
            raise InvalidInputError.of("ranker.four_bit", "weights cannot be sharded")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
