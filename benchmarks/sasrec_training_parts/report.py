"""Markdown of what was measured."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.sasrec_training_parts.clock import OURS, Epoch
from benchmarks.sasrec_training_parts.recbole_files import METRICS


@dataclass(frozen=True)
class Quality:
    """A model after its training. masked, unmasked: our evaluation of the test items. reported:
    the same figures by the peer's own evaluation."""

    name: str
    epochs: int
    best_epoch: int
    seconds: float
    cpu_seconds: float
    validation_ndcg: float
    masked: Mapping[str, float]
    unmasked: Mapping[str, float]
    reported: Mapping[str, float] | None = None


def speed_table(epochs: Mapping[str, Sequence[Epoch]], whole: int) -> Iterator[str]:
    """Medians over the turns; the ratios are of the peer's time to ours.

    whole: the targets of an epoch. A turn that is a part of one counts at its targets a second.
    """
    yield (
        "| | targets a step | turns | of an epoch | epoch, s | CPU s | targets a CPU second |"
        " times ours, s | times ours, CPU s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    ours = _seconds_an_epoch(epochs[OURS], whole)
    for name, turns in epochs.items():
        seconds, cpu_seconds = _seconds_an_epoch(turns, whole)
        cells = [
            name,
            f"{turns[0].targets / turns[0].steps:.0f}",
            str(len(turns)),
            f"{turns[0].targets / whole:.0%}",
            f"{seconds:.1f}",
            f"{cpu_seconds:.1f}",
            f"{whole / cpu_seconds:.0f}",
            f"{seconds / ours[0]:.2f}x",
            f"{cpu_seconds / ours[1]:.2f}x",
        ]
        yield f"| {' | '.join(cells)} |"


def quality_table(models: Sequence[Quality]) -> Iterator[str]:
    figures = tuple(METRICS)
    yield (
        "| | epochs (best) | s | CPU s | validation nDCG@10 |"
        + "".join(f" {name}, masked |" for name in figures)
        + "".join(f" {name}, unmasked |" for name in figures)
        + "".join(f" {name}, its own evaluation |" for name in figures)
    )
    yield "|---" * (5 + 3 * len(figures)) + "|"
    for model in models:
        cells = [
            model.name,
            f"{model.epochs} ({model.best_epoch})",
            f"{model.seconds:.0f}",
            f"{model.cpu_seconds:.0f}",
            f"{model.validation_ndcg:.4f}",
            *(f"{model.masked[name]:.4f}" for name in figures),
            *(f"{model.unmasked[name]:.4f}" for name in figures),
            *(_reported(model, name) for name in figures),
        ]
        yield f"| {' | '.join(cells)} |"


def _seconds_an_epoch(turns: Sequence[Epoch], targets: int) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    return (
        statistics.median(turn.seconds / turn.targets for turn in turns) * targets,
        statistics.median(turn.cpu_seconds / turn.targets for turn in turns) * targets,
    )


def _reported(model: Quality, name: str) -> str:
    return "-" if model.reported is None else f"{model.reported[METRICS[name]]:.4f}"
