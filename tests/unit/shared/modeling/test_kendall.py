import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from shared.errors import InvalidInputError
from shared.modeling.kendall import behavioural_target_distances, kendall_tau, kendall_tau_b

values = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=25)


def tau_by_pairs(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    return sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs) / len(pairs)


@given(values)
def test_tau_equals_the_count_of_pairs_with_ties_in_it(rows):
    a, b = zip(*rows, strict=True)
    assert kendall_tau(a, b) == pytest.approx(tau_by_pairs(a, b), abs=1e-12)


@given(values)
def test_tau_b_equals_that_of_scipy(rows):
    a, b = zip(*rows, strict=True)
    assert kendall_tau_b(a, b) == pytest.approx(kendalltau(a, b).statistic, nan_ok=True)


def test_without_ties_the_two_agree():
    generator = np.random.default_rng(0)
    a = generator.normal(size=500)
    b = a + generator.normal(size=500)
    assert kendall_tau(a, b) == pytest.approx(kendall_tau_b(a, b))


@settings(deadline=None)
@given(values)
def test_tau_does_not_change_under_a_rising_function_and_turns_under_a_falling_one(rows):
    a, b = (np.array(side, dtype=np.float64) for side in zip(*rows, strict=True))
    assert kendall_tau(np.exp(a), 3 * b + 1) == pytest.approx(kendall_tau(a, b), abs=1e-12)
    assert kendall_tau(-a, b) == pytest.approx(-kendall_tau(a, b), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1, np.nan], [1, 2])])
def test_variables_that_cannot_be_compared_are_refused(a, b):
    with pytest.raises(InvalidInputError):
        kendall_tau(a, b)


def test_distances_go_from_each_behavioural_item_to_the_target():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    distances = behavioural_target_distances(
        embeddings,
        [np.array([1, 2]), np.array([0]), np.array([2])],
        np.array([0, -1, 1]),
    )
    assert distances.tolist() == pytest.approx([5.0, 1.0, 18**0.5])


def test_moving_and_turning_the_embeddings_keeps_tau_at_one():
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    histories = [np.arange(user, user + 5) for user in range(20)]
    targets = np.arange(20, 40)
    before = behavioural_target_distances(embeddings, histories, targets)
    after = behavioural_target_distances(2 * embeddings @ rotation + 7, histories, targets)
    assert kendall_tau(before, after) == pytest.approx(1)
