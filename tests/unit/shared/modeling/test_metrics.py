from math import log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInputError
from shared.modeling.metrics import ranking_metrics, target_ranks


def test_metrics_equal_a_hand_computed_example():
    metrics = ranking_metrics(torch.tensor([1.0, 3.0, 6.0, 15.0, 40.0]))
    assert metrics == pytest.approx(
        {
            "hr@5": 2 / 5,
            "hr@10": 3 / 5,
            "hr@20": 4 / 5,
            "ndcg@5": (1 + 1 / 2) / 5,
            "ndcg@10": (1 + 1 / 2 + 1 / log2(7)) / 5,
            "ndcg@20": (1 + 1 / 2 + 1 / log2(7) + 1 / 4) / 5,
        }
    )


def test_the_history_is_left_out_of_the_masked_rank_only():
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0]])
    seen = torch.tensor([[True, False, False, False]])
    ranks = target_ranks(scores, torch.tensor([2]), seen)
    assert ranks.masked.tolist() == [2.0]
    assert ranks.unmasked.tolist() == [3.0]


def test_a_target_seen_before_is_ranked_all_the_same():
    scores = torch.tensor([[9.0, 8.0, 7.0]])
    seen = torch.tensor([[True, True, False]])
    ranks = target_ranks(scores, torch.tensor([1]), seen)
    assert ranks.masked.tolist() == [1.0]
    assert ranks.unmasked.tolist() == [2.0]


def test_ties_share_the_mean_of_their_ranks():
    scores = torch.tensor([[5.0, 3.0, 3.0, 3.0, 1.0]])
    ranks = target_ranks(scores, torch.tensor([2]), torch.zeros(1, 5, dtype=torch.bool))
    assert ranks.unmasked.tolist() == [3.0]


def test_a_constant_scorer_ranks_the_target_in_the_middle():
    ranks = target_ranks(
        torch.zeros(1, 101), torch.tensor([0]), torch.zeros(1, 101, dtype=torch.bool)
    )
    assert ranks.unmasked.tolist() == [51.0]


@given(st.permutations(range(8)), st.integers(0, 7))
def test_without_ties_the_rank_is_the_place_in_the_sorted_list(order, target):
    scores = torch.empty(1, 8)
    for place, item in enumerate(order):
        scores[0, item] = -place
    ranks = target_ranks(scores, torch.tensor([target]), torch.zeros(1, 8, dtype=torch.bool))
    assert ranks.unmasked.item() == order.index(target) + 1


def test_nan_scores_are_refused():
    scores = torch.tensor([[1.0, float("nan")]])
    with pytest.raises(InvalidInputError, match="scores: contain NaN"):
        target_ranks(scores, torch.tensor([0]), torch.zeros(1, 2, dtype=torch.bool))


@pytest.mark.parametrize("ranks", [[], [0.0], [float("nan")]])
def test_impossible_ranks_are_refused(ranks):
    with pytest.raises(InvalidInputError, match="ranks"):
        ranking_metrics(torch.tensor(ranks))
