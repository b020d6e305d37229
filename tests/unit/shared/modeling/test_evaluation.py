import json

import numpy as np
import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.evaluation import evaluate, evaluate_each, item_groups, popularity_scorer

HISTORIES = [np.array([0, 1]), np.array([2]), np.array([], dtype=np.int64), np.array([3, 0, 1])]
TARGETS = np.array([2, 0, -1, 3])
FREQUENCY = np.array([5, 4, 3, 2, 1, 0])


def score_by_history(histories):
    """Scores that depend on the history alone, so that batching must not matter."""
    generators = [torch.Generator().manual_seed(int(h.sum()) + len(h)) for h in histories]
    return torch.stack([torch.rand(6, generator=generator) for generator in generators])


def test_popularity_is_ranked_as_by_hand():
    evaluation = evaluate(popularity_scorer(FREQUENCY), HISTORIES, TARGETS)
    assert evaluation.users.tolist() == [0, 1, 3]
    assert evaluation.unmasked_ranks.tolist() == [3.0, 1.0, 4.0]
    # User 0 has seen items 0 and 1; user 3 has seen 0, 1 and its own target 3.
    assert evaluation.masked_ranks.tolist() == [1.0, 1.0, 2.0]
    assert evaluation.masked["ndcg@5"] == pytest.approx((2 + 1 / np.log2(3)) / 3)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_size_changes_nothing(batch_size):
    reference = evaluate(score_by_history, HISTORIES, TARGETS, batch_size=3)
    evaluation = evaluate(score_by_history, HISTORIES, TARGETS, batch_size=batch_size)
    assert evaluation.as_dict() == reference.as_dict()


def test_models_that_share_their_work_are_evaluated_as_each_alone():
    popularity = popularity_scorer(FREQUENCY)
    shared = []

    def both(histories):
        shared.append(len(histories))
        by_history = score_by_history(histories)
        return (by_history, by_history + popularity(histories))

    first, second = evaluate_each(both, HISTORIES, TARGETS, batch_size=2, frequency=FREQUENCY)

    def sum_of_both(histories):
        return score_by_history(histories) + popularity(histories)

    for one, alone in ((first, score_by_history), (second, sum_of_both)):
        expected = evaluate(alone, HISTORIES, TARGETS, frequency=FREQUENCY)
        assert one.as_dict() == expected.as_dict()
        assert torch.equal(one.masked_ranks, expected.masked_ranks)
    assert shared == [2, 1]


def test_groups_cover_the_users_by_the_frequency_of_their_target():
    frequency = np.array([5, 4, 3, 0, 1, 0])
    evaluation = evaluate(popularity_scorer(frequency), HISTORIES, TARGETS, frequency=frequency)
    assert {name: group.users for name, group in evaluation.groups.items()} == {
        "head": 1,
        "tail": 1,
        "cold": 1,
    }
    assert evaluation.groups["head"].unmasked["hr@5"] == 1.0


def test_item_groups_are_disjoint_and_cover_the_catalogue():
    groups = item_groups(np.array([1, 9, 0, 4, 1, 7, 0]), head_share=0.4)
    assert groups["head"].tolist() == [False, True, False, False, False, True, False]
    assert groups["cold"].tolist() == [False, False, True, False, False, False, True]
    total = sum(group.astype(int) for group in groups.values())
    assert total.tolist() == [1] * 7


def test_the_result_goes_into_json():
    evaluation = evaluate(
        popularity_scorer(FREQUENCY), HISTORIES, TARGETS, frequency=np.array([5, 4, 3, 2, 1, 0])
    )
    document = json.loads(json.dumps(evaluation.as_dict()))
    assert document["users"] == 3
    assert document["groups"]["cold"] == {"users": 0, "masked": {}, "unmasked": {}}


def test_nobody_to_evaluate_is_an_error():
    with pytest.raises(InvalidInputError, match="targets"):
        evaluate(popularity_scorer(FREQUENCY), HISTORIES, np.full(4, -1))


def test_scores_of_a_smaller_catalogue_are_refused():
    with pytest.raises(InvalidInputError, match="cover 3 items, but row 3"):
        evaluate(popularity_scorer(FREQUENCY[:3]), HISTORIES, TARGETS)


def test_targets_and_histories_must_be_of_one_length():
    with pytest.raises(InvalidInputError, match="there are 4 histories"):
        evaluate(popularity_scorer(FREQUENCY), HISTORIES, TARGETS[:2])
