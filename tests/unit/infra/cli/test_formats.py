"""How tables show times, durations and figures."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.cli.formats import duration, figure, moment, percent


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0.42, "0.4 s"), (12.3, "12 s"), (59.9, "60 s"), (3723, "1:02:03")],
)
def test_a_duration_is_as_exact_as_one_cares(seconds, shown):
    assert duration(seconds) == shown


def test_a_moment_is_in_utc():
    at = datetime(2026, 1, 31, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    assert moment(at) == "2026-01-31 10:30:00"
    assert moment(at.astimezone(UTC)) == moment(at)


def test_whole_figures_are_counts_and_others_measures():
    assert (figure(12000.0), figure(0.05584), figure(None)) == ("12,000", "0.0558", "-")


def test_a_share_is_a_percentage():
    assert (percent(0.1234), percent(None)) == ("12.34%", "-")
