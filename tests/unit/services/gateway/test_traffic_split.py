import subprocess
import sys

import pytest

from services.gateway.traffic_split import place_of, share_at

USERS = [f"user-{number}" for number in range(20_000)]
PLACES = {user: place_of("shop", user) for user in USERS}


def users_of(version, shares):
    return {user for user in USERS if share_at(PLACES[user], shares) == version}


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_a_share_gets_its_percentage_of_many_users(percent):
    got = len(users_of("b", {"b": percent})) / len(USERS)

    spread = (percent / 100 * (1 - percent / 100) / len(USERS)) ** 0.5
    assert abs(got - percent / 100) < 4 * spread


def test_shares_beside_one_another_have_users_of_their_own():
    shares = {"b": 20.0, "c": 30.0}
    first, second, live = (users_of(version, shares) for version in ("b", "c", None))

    assert len(first) + len(second) + len(live) == len(USERS)
    assert len(first) / len(USERS) == pytest.approx(0.2, abs=0.02)
    assert len(second) / len(USERS) == pytest.approx(0.3, abs=0.02)


def test_a_share_that_grows_keeps_its_users():
    assert users_of("b", {"b": 10}) < users_of("b", {"b": 20}) < users_of("b", {"b": 90})


def test_without_shares_everybody_gets_the_live_bundle():
    assert users_of(None, {}) == set(USERS)


def test_catalogues_split_their_users_apart():
    both = [user for user in USERS if PLACES[user] < 50 and place_of("other", user) < 50]

    assert len(both) / len(USERS) == pytest.approx(0.25, abs=0.02)


def test_a_user_has_the_same_place_in_every_process():
    program = "from services.gateway.traffic_split import place_of; print(place_of('shop', 'ümit'))"
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert float(other.stdout) == place_of("shop", "ümit")
    assert 0 <= place_of("shop", "ümit") < 100
