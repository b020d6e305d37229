from itertools import count

import numpy as np

from benchmarks.sasrec_training_parts.clock import OURS, Epoch, alternate
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import leave_one_out

TINY = SASRecConfig(dimension=4, feedforward=4, max_length=5, batch_size=4, patience=1)


def test_peers_take_turns_with_our_epochs():
    split = leave_one_out([(np.arange(6) + start) % 9 for start in range(9)])
    numbers = count(1)

    def turn():
        return Epoch(seconds=0.0, cpu_seconds=0.0, steps=next(numbers), targets=7)

    order: list[str] = []
    peers = {"first": turn, "second": turn}
    found = alternate(split, 9, TINY, 4, peers, lambda name, _: order.append(name))
    assert order == [OURS, "first", "second"] * 4
    assert [epoch.steps for epoch in found["first"]] == [1, 3, 5, 7]
    assert [epoch.steps for epoch in found["second"]] == [2, 4, 6, 8]
    # Nine users with four training items: 27 targets, in batches of four sequences.
    assert [(epoch.steps, epoch.targets) for epoch in found[OURS]] == [(3, 27)] * 4
