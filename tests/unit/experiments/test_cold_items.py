import numpy as np

from experiments.cold_items import with_cold_items
from shared.modeling.sequences import NOT_EVALUATED, item_frequency, leave_one_out

ITEMS = 20
SPLIT = leave_one_out([(np.arange(6) + start) % ITEMS for start in range(ITEMS)])


def test_a_share_of_the_items_is_met_in_the_test_alone():
    split = with_cold_items(SPLIT, ITEMS, 0.25)
    cold = np.flatnonzero(item_frequency(split, ITEMS) == 0)
    assert len(cold) == 5
    assert not np.isin(split.validation_target, cold).any()
    assert np.array_equal(split.test_target, SPLIT.test_target)
    for before, after in zip(SPLIT.train, split.train, strict=True):
        assert np.array_equal(after, before[~np.isin(before, cold)])


def test_users_with_a_cold_validation_target_are_not_validated():
    split = with_cold_items(SPLIT, ITEMS, 0.25)
    cold = np.flatnonzero(item_frequency(split, ITEMS) == 0)
    left_out = np.isin(SPLIT.validation_target, cold)
    assert np.array_equal(split.validation_target == NOT_EVALUATED, left_out)


def test_without_a_share_nothing_changes():
    split = with_cold_items(SPLIT, ITEMS, 0)
    assert all(np.array_equal(a, b) for a, b in zip(split.train, SPLIT.train, strict=True))
    assert np.array_equal(split.validation_target, SPLIT.validation_target)
