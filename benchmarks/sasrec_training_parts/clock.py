"""Seconds an epoch: of our training as it runs, and of the peers between our epochs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from shared.modeling.progress import Progress
from shared.modeling.sasrec import train_sasrec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import Split

OURS = "ours"


@dataclass(frozen=True)
class Epoch:
    """Training alone, without validation, of a whole epoch or a part of it.

    cpu_seconds: what the process computed in that time, in which it may have waited for a core.
    """

    seconds: float
    cpu_seconds: float
    steps: int
    targets: int


def alternate(
    split: Split,
    number_of_items: int,
    config: SASRecConfig,
    turns: int,
    peers: Mapping[str, Callable[[], Epoch]],
    on_turn: Callable[[str, Epoch], None],
) -> dict[str, list[Epoch]]:
    """`train_sasrec` for so many epochs; after each of them every peer has its turn.

    on_turn: called with the name and the time of each turn of ours and of the peers.
    """
    found: dict[str, list[Epoch]] = {OURS: [], **{name: [] for name in peers}}
    watch = _Watch(sum(max(0, len(items) - 1) for items in split.train))

    def note(name: str, epoch: Epoch) -> None:
        found[name].append(epoch)
        on_turn(name, epoch)

    def on_progress(progress: Progress) -> None:
        if "loss" in progress.metrics:
            watch.step()
            return
        note(OURS, watch.epoch)
        for name, train in peers.items():
            note(name, train())
        watch.start()

    # The validations are not timed: one user is enough.
    config = replace(config, epochs=turns, patience=turns, validation_users=1)
    watch.start()
    train_sasrec(split, number_of_items, config, on_progress)
    return found


class _Watch:
    def __init__(self, targets: int) -> None:
        self.epoch = Epoch(0, 0, 0, targets)

    def start(self) -> None:
        self._started, self._computed = time.perf_counter(), time.process_time()
        self.epoch = replace(self.epoch, steps=0)

    def step(self) -> None:
        self.epoch = replace(
            self.epoch,
            seconds=time.perf_counter() - self._started,
            cpu_seconds=time.process_time() - self._computed,
            steps=self.epoch.steps + 1,
        )
