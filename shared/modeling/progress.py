"""How long-running training reports where it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of `stage`, with the latest `metrics` (loss, nDCG, ...)."""

    stage: str
    done: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)


# Called after every step. It may raise to stop the training: whatever it raises passes through.
OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """For callers that do not watch."""
