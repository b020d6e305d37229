from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.cron import next_time
from shared.errors import InvalidInputError

THURSDAY = datetime(2026, 11, 26, 13, 50, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * *", datetime(2026, 11, 27, 3, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 26, 14, tzinfo=UTC)),
        ("50 13 * * *", datetime(2026, 11, 27, 13, 50, tzinfo=UTC)),
        ("  51  13 * * * ", datetime(2026, 11, 26, 13, 51, tzinfo=UTC)),
        ("0 0 * * sun", datetime(2026, 11, 29, tzinfo=UTC)),
        ("30 2 29 2 *", datetime(2028, 2, 29, 2, 30, tzinfo=UTC)),
        ("0 3 1 * 1", datetime(2027, 2, 1, 3, tzinfo=UTC)),  # a first that is a Monday
    ],
)
def test_the_next_time_is_the_first_one_that_comes_after(cron, expected):
    assert next_time(cron, THURSDAY) == expected


def test_the_time_is_utc_whatever_zone_is_asked_in():
    elsewhere = THURSDAY.astimezone(timezone(timedelta(hours=5)))
    assert next_time("0 3 * * *", elsewhere).isoformat() == "2026-11-27T03:00:00+00:00"


@pytest.mark.parametrize(
    ("cron", "cause"),
    [
        ("0 3 * *", "five fields.*not 4"),
        ("0 3 * * * *", "not 6"),
        ("", "not 0"),
        ("60 * * * *", "cannot be read.*60 > 59"),
        ("x * * * *", "cannot be read"),
        ("*/0 * * * *", "cannot be read"),
        ("0 0 31 2 *", "never"),
    ],
)
def test_an_expression_that_names_no_time_is_refused_with_the_cause(cron, cause):
    with pytest.raises(InvalidInputError, match=cause) as caught:
        next_time(cron, THURSDAY)
    assert [problem.field for problem in caught.value.fields] == ["cron"]
