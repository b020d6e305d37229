"""Times by the clock: `0 3 * * *` is every day at three, in UTC."""

from datetime import UTC, datetime

from celery.schedules import ParseException, crontab

from shared.errors import InvalidInputError


def next_time(cron: str, after: datetime) -> datetime:
    """The first time after another one that an expression of five fields names.

    Where both the day of the month and the day of the week are given, a day has to be both.

    Raises InvalidInputError that names `cron`: it is no such expression, or there is no such time.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise InvalidInputError.of(
            "cron",
            f"must have five fields (minute, hour, day of the month, month, day of the week),"
            f" not {len(fields)}",
        )
    try:
        last, delta, _ = crontab.from_string(" ".join(fields)).remaining_delta(after, tz=UTC)
        found: datetime = last + delta
    except (ParseException, ValueError, KeyError) as error:
        raise InvalidInputError.of("cron", f"{cron!r} cannot be read: {error}") from error
    except (RuntimeError, OverflowError) as error:
        raise InvalidInputError.of("cron", f"{cron!r} names a day that never comes") from error
    return found.astimezone(UTC)
