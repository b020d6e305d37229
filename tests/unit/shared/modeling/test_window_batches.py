from itertools import pairwise

import numpy as np

from shared.modeling.window_batches import batches_of


def test_every_pair_of_a_window_is_trained_once_and_padding_never():
    windows = [np.arange(start, start + length) for start, length in ((0, 5), (10, 2), (20, 3))]
    pairs = []
    for batch in batches_of(windows, 2, np.random.default_rng(0)):
        valid = batch.valid
        pairs += list(
            zip(batch.context[valid].tolist(), batch.targets[valid].tolist(), strict=True)
        )
    expected = [(int(a), int(b)) for w in windows for a, b in pairwise(w)]
    assert sorted(pairs) == sorted(expected)


def test_valid_entries_stand_on_the_left():
    windows = [np.arange(4), np.arange(2)]
    (batch,) = batches_of(windows, 2, np.random.default_rng(0))
    assert batch.valid.tolist() == [[True, True, True], [True, False, False]]


def test_windows_of_like_length_come_together():
    windows = [np.arange(2 + 10 * (number % 2)) for number in range(8)]
    for batch in batches_of(windows, 4, np.random.default_rng(0)):
        assert bool(batch.valid.all())
