"""How tables show times, durations and figures."""

from datetime import UTC, datetime, timedelta

NOTHING = "-"


def moment(at: datetime | None) -> str:
    """In UTC, to the second."""
    return NOTHING if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str:
    """Such as 0.4 s, 12 s or 1:02:03."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return str(timedelta(seconds=round(seconds)))


def figure(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.2%}"
