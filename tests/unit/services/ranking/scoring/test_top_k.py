import numpy as np
import pytest
import torch

from services.ranking.scoring.top_k import top_k


def brute_force(scores, k):
    order = sorted(range(len(scores)), key=lambda column: (-scores[column], column))
    return [column for column in order if scores[column] > -np.inf][:k]


@pytest.mark.parametrize("distinct", [2, 5, 1000])
def test_it_is_the_sorted_list_with_ties_in_the_order_of_columns(distinct):
    random = np.random.default_rng(distinct)
    scores = random.integers(distinct, size=(16, 40)).astype(np.float32)
    scores[random.random(scores.shape) < 0.3] = -np.inf
    ks = random.integers(1, 60, size=16).tolist()
    found = top_k(torch.from_numpy(scores), ks)
    assert [rows.tolist() for rows in found] == [
        brute_force(own.tolist(), k) for own, k in zip(scores, ks, strict=True)
    ]


def test_nothing_allowed_gives_nothing():
    [rows] = top_k(torch.full((1, 7), -torch.inf), [3])
    assert rows.tolist() == []


@pytest.mark.parametrize("distinct", [3, 1000, 10**7])
@pytest.mark.parametrize("items", [2**15 + 1, 50_000])
def test_it_is_the_sorted_list_among_many_columns_too(distinct, items):
    random = np.random.default_rng(distinct)
    scores = random.integers(distinct, size=(4, items)).astype(np.float32)
    scores[random.random(scores.shape) < 0.3] = -np.inf
    scores[3, 5:] = -np.inf
    ks = [1, 100, 40_000, 7]
    found = top_k(torch.from_numpy(scores), ks)
    for rows, own, k in zip(found, scores, ks, strict=True):
        finite = np.flatnonzero(own > -np.inf)
        expected = finite[np.argsort(-own[finite], kind="stable")][:k]
        assert np.array_equal(rows.numpy(), expected)
