import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from experiments.significance import compare
from shared.errors import InvalidInputError
from shared.modeling.metrics import ranking_metrics


def _ranks(seed, users=400, best=1):
    return np.random.default_rng(seed).integers(best, 40, size=users).astype(np.float64)


def test_the_difference_is_that_of_the_mean_metric_over_seeds():
    first, second = [_ranks(0), _ranks(1)], [_ranks(2), _ranks(3)]
    expected = [
        np.mean([ranking_metrics(torch.from_numpy(ranks))["ndcg@10"] for ranks in seeds])
        for seeds in (first, second)
    ]
    assert compare(first, second).difference == pytest.approx(expected[0] - expected[1])


def test_users_are_paired_and_a_constant_lead_over_noise_is_significant():
    hard = np.random.default_rng(0).integers(1, 9, size=300).astype(np.float64)
    lead = compare([hard], [hard + 1])
    low, high = lead.interval
    assert 0 < low < lead.difference < high
    assert lead.p < 1e-6
    shuffled = compare([hard], [np.random.default_rng(1).permutation(hard)])
    assert shuffled.p > 0.05
    assert shuffled.interval[0] < 0 < shuffled.interval[1]


def test_p_is_that_of_a_paired_t_test_over_the_users():
    first, second = _ranks(4), _ranks(5)
    gains = [np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0) for ranks in (first, second)]
    assert compare([first], [second]).p == pytest.approx(ttest_rel(*gains).pvalue)


def test_the_order_of_the_methods_only_turns_the_sign():
    one, other = compare([_ranks(6)], [_ranks(7)]), compare([_ranks(7)], [_ranks(6)])
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == pytest.approx(other.p)


def test_equal_methods_do_not_differ():
    assert compare([_ranks(8)], [_ranks(8)]).p == 1.0


@pytest.mark.parametrize(("one", "other"), [(400, 399), (1, 1)])
def test_other_users_or_too_few_are_refused(one, other):
    with pytest.raises(InvalidInputError, match=r"^ranks: "):
        compare([_ranks(0, one)], [_ranks(0, other)])
