import math

import pytest

from services.training.smoke import all_score_alike, percentile_95, problem_of
from shared.contracts.ranking import RankedItem, RankRequest, RankResponse

KNOWN = {"a", "b", "c", "d"}
REQUEST = RankRequest(catalog_id="shop", history=["a", "b"], k=2, bundle="b2")


def answer(items=(("c", 2.0), ("d", 1.0)), **changes):
    return RankResponse(
        **{
            "bundle": "b2",
            "engine": "transformers",
            "source": "ranker",
            "unknown_items": [],
            "items": [RankedItem(item_id=i, score=s, shares=None) for i, s in items],
            **changes,
        }
    )


def test_a_whole_list_of_new_items_from_the_ranker_is_fit():
    assert problem_of(answer(), REQUEST, KNOWN) is None


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (answer(bundle="b1"), "bundle b1 answered"),
        (answer(source="sasrec", fallback="deadline"), "sasrec answered"),
        (answer([("c", 1.0)]), "1 items came where 2 were asked for"),
        (answer([("c", 1.0), ("c", 1.0)]), "stands in the list twice"),
        (answer([("c", 1.0), ("a", 1.0)]), "holds a, which the user has had"),
        (answer([("c", 1.0), ("z", 1.0)]), "holds z, which is not in the catalogue"),
        (answer([("c", math.nan), ("d", 1.0)]), "not finite"),
        (answer([("c", math.inf), ("d", 1.0)]), "not finite"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(given, problem):
    assert problem in problem_of(given, REQUEST, KNOWN)


def test_lists_that_differ_only_in_what_they_leave_out_are_alike():
    assert all_score_alike([{"a": 3.0, "c": 1.0}, {"b": 2.0, "c": 1.0}])
    assert not all_score_alike([{"a": 3.0, "c": 1.0}, {"b": 2.0, "c": 1.5}])


def test_lists_without_a_common_item_differ():
    assert not all_score_alike([{"a": 1.0}, {"b": 1.0}])


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile_95([5.0]) == 5.0
    assert percentile_95(list(range(1, 101))) == 95
    assert percentile_95([1.0] * 19 + [9.0]) == 1.0
    assert percentile_95([1.0] * 18 + [9.0] * 2) == 9.0
