import numpy as np
import pytest

from experiments.online_loop.measuring import gain, measured
from experiments.online_loop.replay import Slice, Training
from tests.unit.experiments.online_loop.made_up import timeline_of

FIRST, THIRD = 1.0, 0.5


@pytest.fixture
def figures():
    """Eight events of users a and b with items x and y; then b meets x, and z twice in a row of
    slices of one event."""
    events = [(user, item) for item in "xy" for user in "aabb"]
    timeline = timeline_of([*events, ("b", "z"), ("a", "z")])
    cold, warm = Training(9.0), Training(3.0, {"cosine_kept": {"collaborative": 0.5}})

    def one(first, frozen, warm_rank, training):
        ranks = {"frozen": np.array([frozen]), "warm": np.array([warm_rank])}
        return Slice(first, first + 1, np.array([first]), ranks, {"frozen": cold, "warm": training})

    return measured(timeline, [one(8, 11.0, 11.0, cold), one(9, 3.0, 1.0, warm)])


def test_a_slice_says_when_it_was_and_how_well_each_curve_ranked(figures):
    first, second = figures["slices"]
    assert (first["events"], first["replayed_before"]) == ([8, 9], 0)
    assert (second["events"], second["replayed_before"], second["users"]) == ([9, 10], 1, 1)
    assert first["from"] == first["until"] == "2024-01-01"
    assert first["curves"]["warm"]["all"] == {"ndcg@10": 0.0, "hr@10": 0.0}
    assert second["curves"]["frozen"]["all"]["ndcg@10"] == THIRD
    assert second["curves"]["warm"]["all"]["ndcg@10"] == FIRST


def test_targets_are_told_apart_by_who_can_have_learned_of_them(figures):
    first, second = figures["slices"]
    assert first["targets"] == {"all": 1, "before": 0, "since": 0, "new": 1}
    assert second["targets"] == {"all": 1, "before": 0, "since": 1, "new": 0}
    assert second["curves"]["warm"]["since"]["ndcg@10"] == FIRST
    assert "new" not in second["curves"]["warm"]


def test_the_slices_after_the_first_are_what_retraining_is_judged_by(figures):
    assert figures["retrained"]["targets"]["all"] == 1
    assert figures["gain"]["warm"]["difference"] == FIRST - THIRD


def test_trainings_say_how_long_they_took_and_what_they_kept(figures):
    assert figures["slices"][1]["trainings"] == {
        "frozen": {"seconds": 9.0},
        "warm": {"seconds": 3.0, "cosine_kept": {"collaborative": 0.5}},
    }


def test_one_users_many_targets_do_not_make_a_gain_surer():
    ranks = np.array([1.0, 11.0] * 50)
    over = np.full(100, 3.0)
    of_many = gain(ranks, over, np.arange(100))
    of_two = gain(ranks, over, np.array([0, 1] * 50))
    assert of_many["difference"] == of_two["difference"] == pytest.approx(0.0)
    assert of_many["interval"][1] == pytest.approx(1.96 * 0.5 / 100**0.5)
    assert of_two["interval"][1] == pytest.approx(1.96 * 0.5 / 2**0.5)
