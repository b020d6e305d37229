from contextlib import ExitStack

import numpy as np
import pytest

from benchmarks.ranking_parts.made_up_bundle import popularity
from benchmarks.ranking_parts.workloads import USERS, NewUsers, ReturningUsers


def asked(workload, times):
    found = []
    for _ in range(times):
        with workload.asking() as history:
            found.append(history.tolist())
    return found


def test_new_users_have_different_items_and_are_not_met_twice():
    found = asked(NewUsers(popularity(500), 20, seed=0), 1000)
    assert all(len(set(own)) == len(own) == 20 for own in found)
    assert len({tuple(own) for own in found}) == 1000


def test_histories_follow_the_popularity():
    shares = popularity(500)
    met = np.concatenate(asked(NewUsers(shares, 5, seed=0), 2000))
    often = np.bincount(met, minlength=500)
    head = np.argsort(-shares)[:50]
    assert often[head].mean() > 3 * often.mean()


def test_the_same_seed_asks_the_same():
    first, second = (asked(NewUsers(popularity(500), 20, seed=3), 300) for _ in range(2))
    assert first == second


def test_a_returning_user_has_one_item_more_until_a_new_one_follows():
    found = asked(ReturningUsers(popularity(500), 5, 7, seed=0), 4 * USERS)
    for user in range(USERS):
        first, second, third, other = found[user::USERS]
        assert (len(first), len(second), len(third), len(other)) == (5, 6, 7, 5)
        assert third[:6] == second
        assert second[:5] == first
        assert other != first


def test_users_who_ask_at_a_time_are_different_ones():
    workload = ReturningUsers(popularity(500), 5, 7, seed=0)
    with ExitStack() as asking:
        together = [tuple(asking.enter_context(workload.asking())) for _ in range(USERS)]
    assert len(set(together)) == USERS


@pytest.mark.parametrize("items", [1, 1000])
def test_popularity_is_a_distribution(items):
    assert popularity(items).sum() == pytest.approx(1)
    assert (popularity(items) > 0).all()
