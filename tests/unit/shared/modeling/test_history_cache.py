"""What is kept of histories, and for how long."""

import numpy as np
import torch

from shared.modeling.history_cache import HistoryCache


def history(*rows):
    return np.array(rows, dtype=np.int64)


def computed(items, value=0.0):
    """100 bytes an item: 1 layer, 1 head, 12.5 numbers of 4 bytes for keys and values each."""
    return torch.full((2, items, 1, 25), value, dtype=torch.float16)


def test_a_history_finds_its_longest_known_beginning():
    cache = HistoryCache(10_000)
    cache.put(history(1, 2), computed(2, 2.0))
    cache.put(history(1, 2, 3), computed(3, 3.0))
    cache.put(history(2, 3), computed(2, 9.0))
    assert torch.equal(cache.take(history(1, 2, 3, 4)), computed(3, 3.0))
    assert torch.equal(cache.take(history(1, 2, 3, 4)), computed(2, 2.0))
    assert cache.take(history(1, 2, 3, 4)) is None


def test_the_end_of_a_history_is_no_beginning():
    cache = HistoryCache(10_000)
    cache.put(history(1, 2, 3), computed(3))
    assert cache.take(history(2, 3)) is None
    assert cache.take(history(1, 2)) is None
    assert cache.take(history()) is None


def test_the_longest_unused_goes_first():
    cache = HistoryCache(250)
    cache.put(history(1), computed(1))
    cache.put(history(2), computed(1))
    cache.put(history(1), cache.take(history(1)))
    cache.put(history(3), computed(1))
    assert cache.held_bytes == 200
    assert cache.take(history(2)) is None
    assert cache.take(history(1)) is not None
    assert cache.take(history(3)) is not None
    assert cache.held_bytes == 0


def test_the_same_history_again_replaces_the_first():
    cache = HistoryCache(250)
    cache.put(history(1, 2), computed(2, 1.0))
    cache.put(history(1, 2), computed(2, 2.0))
    assert cache.held_bytes == 200
    assert torch.equal(cache.take(history(1, 2)), computed(2, 2.0))


def test_what_is_larger_than_the_limit_drives_nothing_out():
    cache = HistoryCache(250)
    cache.put(history(1), computed(1))
    cache.put(history(5, 6, 7), computed(3))
    assert cache.held_bytes == 100
    assert cache.take(history(1)) is not None


def test_a_limit_of_zero_keeps_nothing():
    cache = HistoryCache(0)
    cache.put(history(1), computed(1))
    assert cache.take(history(1)) is None


def test_a_cleared_cache_knows_nothing():
    cache = HistoryCache(250)
    cache.put(history(1), computed(1))
    cache.clear()
    assert (cache.take(history(1)), cache.held_bytes) == (None, 0)
