"""The loop: rank for a slice of events, then learn from it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiments.catalogue import Say
from experiments.online_loop.bundle import Bundle, Train
from experiments.online_loop.knowledge import Items, Knowledge, items_met, known_at
from experiments.online_loop.timeline import EventNumbers, Timeline
from shared.errors import InvalidInputError
from shared.modeling.evaluation import evaluate
from shared.modeling.item_tables import ItemTables

Curve = Literal["frozen", "warm", "full"]

LEARNED_FIRST = 0.8


@dataclass(frozen=True)
class Plan:
    """every: events between two trainings. targets: at most so many events of a slice, drawn by
    the seed, are ranked. full: whether to retrain from nothing as well."""

    every: int
    targets: int = 5_000
    full: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("every", "targets"):
            if getattr(self, name) < 1:
                raise InvalidInputError.of(name, "must be at least 1")

    @property
    def curves(self) -> tuple[Curve, ...]:
        return ("frozen", "warm", "full") if self.full else ("frozen", "warm")


@dataclass(frozen=True)
class Training:
    """kept: of the items of the bundle that it started from (`Bundle.kept_from`)."""

    seconds: float
    kept: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """The events first, ..., last - 1 of a timeline, ranked before anything learned from them.

    targets: [n] those that were ranked. ranks: [n] of each, by curve, among the items that the
    user had not met. trainings: by curve, that of the bundle that ranked.
    """

    first: int
    last: int
    targets: EventNumbers
    ranks: Mapping[Curve, NDArray[np.float64]]
    trainings: Mapping[Curve, Training]


def replay(
    timeline: Timeline, content: ItemTables, plan: Plan, train: Train, say: Say
) -> Iterator[Slice]:
    """content: E_t and E_v of all items. train: a bundle from nothing.

    Raises InvalidInputError where a part of the events is too small to learn from, or to rank.
    """
    begin = first_replayed(timeline)
    bundle, training = _timed(train, known_at(timeline, begin, content))
    say(f"the first {begin} events: trained in {training.seconds:.0f} s")
    bundles: dict[Curve, Bundle] = dict.fromkeys(plan.curves, bundle)
    trainings: dict[Curve, Training] = dict.fromkeys(plan.curves, training)
    for first in range(begin, len(timeline), plan.every):
        last = min(first + plan.every, len(timeline))
        targets = _targets(timeline, first, last, plan)
        ranks = _ranks(timeline, targets, items_met(timeline, last, content), bundles)
        yield Slice(first, last, targets, ranks, dict(trainings))
        if last == len(timeline):
            break
        known = known_at(timeline, last, content)
        former = bundles["warm"]
        bundles["warm"], training = _timed(former.retrained, known)
        trainings["warm"] = replace(training, kept=bundles["warm"].kept_from(former))
        say(f"{last} events: retrained in {training.seconds:.0f} s")
        if plan.full:
            bundles["full"], trainings["full"] = _timed(train, known)
            say(f"{last} events: trained from nothing in {trainings['full'].seconds:.0f} s")


def first_replayed(timeline: Timeline) -> int:
    """The moment at which the replay begins."""
    return round(LEARNED_FIRST * len(timeline))


def _targets(timeline: Timeline, first: int, last: int, plan: Plan) -> EventNumbers:
    targets = timeline.with_history(first, last)
    if len(targets) > plan.targets:
        generator = np.random.default_rng([plan.seed, first])
        targets = np.sort(generator.choice(targets, plan.targets, replace=False))
    return targets


def _ranks(
    timeline: Timeline, targets: EventNumbers, items: Items, bundles: Mapping[Curve, Bundle]
) -> dict[Curve, NDArray[np.float64]]:
    histories = [timeline.history(int(event)) for event in targets]
    ranks: dict[Curve, NDArray[np.float64]] = {}
    for curve, bundle in bundles.items():
        # Before the first retraining all curves are of one bundle.
        same = next((other for other in ranks if bundles[other] is bundle), None)
        if same is None:
            evaluation = evaluate(bundle.scorer(items), histories, timeline.rows[targets])
            ranks[curve] = evaluation.masked_ranks.numpy()
        else:
            ranks[curve] = ranks[same]
    return ranks


def _timed(train: Train, known: Knowledge) -> tuple[Bundle, Training]:
    started = time.monotonic()
    bundle = train(known)
    return bundle, Training(time.monotonic() - started)
