from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.modeling.window_batches import batches_of, training_windows


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 9), st.integers(0, 99))
def test_windows_hold_every_pair_of_neighbours_once(lengths, max_length, seed):
    train = [1000 * user + np.arange(length) for user, length in enumerate(lengths)]
    windows = training_windows(train, max_length, np.random.default_rng(seed))
    assert all(2 <= len(window) <= max_length + 1 for window in windows)
    found = sorted((int(a), int(b)) for w in windows for a, b in pairwise(w))
    assert found == sorted((int(a), int(b)) for s in train for a, b in pairwise(s))


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


def test_every_target_of_an_epoch_counts_alike_in_batches_of_whatever_length():
    windows = [np.arange(length) for length in (2, 2, 3, 9, 11, 12, 30)]
    batches = batches_of(windows, 2, np.random.default_rng(0))
    shares = [batch.weight / int(batch.valid.sum()) for batch in batches]
    assert shares == pytest.approx([shares[0]] * len(batches))
    assert sum(batch.weight for batch in batches) == pytest.approx(len(batches))


def test_windows_of_one_length_weigh_one_each():
    windows = [np.arange(4)] * 6
    assert [batch.weight for batch in batches_of(windows, 3, np.random.default_rng(0))] == [1, 1]
