import pytest

from services.gateway.wilson import rate


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # By Wilson (1927), as in R: prop.test(x, n, correct = FALSE)$conf.int
    [(10, 100, 0.0552291, 0.1743657), (0, 20, 0.0, 0.1611252), (20, 20, 0.8388748, 1.0)],
)
def test_a_rate_has_wilsons_interval(successes, trials, low, high):
    found = rate(successes, trials)

    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_more_trials_make_it_narrower():
    few, many = rate(3, 30), rate(300, 3000)

    assert many.high - many.low < (few.high - few.low) / 5


def test_nothing_tried_has_no_rate():
    assert rate(0, 0) is None
