"""The value of one cell, as files give it, turned into what a record holds."""

import html
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from shared.data.records import Attribute
from shared.positives import EVENT_TYPES, EventType

MAX_ID_LENGTH = 200
# Positions have no time of their own: position p is told as p seconds after this moment.
START_OF_POSITIONS = datetime(2000, 1, 1, tzinfo=UTC)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class BadCellError(ValueError):
    """One field of a row is wrong: which, and why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def is_empty(value: object) -> bool:
    """None, blank text and the NaN that tables use for a missing number."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def identifier(field: str, value: object) -> str:
    """An id: 1 to 200 printable characters. Whole numbers are taken as their digits.

    Raises:
        BadCellError: missing, too long, or not printable.
    """
    if is_empty(value):
        raise BadCellError(field, "missing")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadCellError(field, f"an id is text or a whole number, not {_shown(value)}")
    found = str(value).strip()
    if len(found) > MAX_ID_LENGTH:
        raise BadCellError(field, f"{len(found)} characters, at most {MAX_ID_LENGTH} are allowed")
    if not found.isprintable():
        raise BadCellError(field, f"{_shown(found)} holds characters that cannot be printed")
    return found


def text(value: object) -> str:
    """Text without control characters; the parts of a list become lines; None becomes ""."""
    if is_empty(value):
        return ""
    if isinstance(value, list | tuple):
        return "\n".join(part for part in (text(element) for element in value) if part)
    return _CONTROL.sub(" ", str(value)).strip()


def line(value: object) -> str:
    """Like `text`, on one line: for titles and names."""
    return " ".join(text(value).split())


def markup(value: object) -> str:
    """Like `text`, for sources that leave HTML entities in it."""
    return text(html.unescape(text(value)))


def names(value: object) -> tuple[str, ...]:
    """Category names: nested lists flattened, `a|b` split, repeats dropped, the order kept."""
    return tuple(dict.fromkeys(name for name in _names(value) if name))


def _names(value: object) -> Iterator[str]:
    if is_empty(value):
        return
    if isinstance(value, list | tuple):
        for element in value:
            yield from _names(element)
        return
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            yield from _names(listed)
            return
    yield from (text(part) for part in str(value).split("|"))


def number(field: str, value: object) -> float | None:
    """A finite number, or None for an empty cell.

    Raises:
        BadCellError: not a number, or not finite.
    """
    if is_empty(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadCellError(field, f"{_shown(value)} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise BadCellError(field, f"{_shown(value)} is no number") from None
    if not math.isfinite(found):
        raise BadCellError(field, f"{_shown(value)} is not finite")
    return found


def moment(field: str, value: object) -> datetime:
    """A time in UTC: Unix seconds, milli-, micro- or nanoseconds (told apart by size), or ISO 8601.

    A time without a zone is taken as UTC.

    Raises:
        BadCellError: missing or not readable as a time.
    """
    if is_empty(value):
        raise BadCellError(field, "missing")
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        seconds = number(field, value) or 0.0
    except BadCellError:
        return _iso_moment(field, value)
    while abs(seconds) >= 1e11:
        seconds /= 1000.0
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise BadCellError(field, f"{_shown(value)} is no time") from None


def _iso_moment(field: str, value: object) -> datetime:
    if isinstance(value, str):
        try:
            return _in_utc(datetime.fromisoformat(value.strip()))
        except (ValueError, OverflowError):
            pass
    raise BadCellError(field, f"{_shown(value)} is no time")


def position(field: str, value: object) -> datetime:
    """The time that stands for a place in a sequence; it keeps the order and means nothing else.

    Raises:
        BadCellError: not a number, or too large for a time.
    """
    place = number(field, value)
    if place is None:
        raise BadCellError(field, "missing")
    try:
        return START_OF_POSITIONS + timedelta(seconds=place)
    except OverflowError:
        raise BadCellError(field, f"{_shown(value)} is too large") from None


def event_type(field: str, value: object) -> EventType:
    """What kind of event; an empty cell is of no known kind.

    Raises:
        BadCellError: a kind that there is not.
    """
    if is_empty(value):
        return "interaction"
    found = next((kind for kind in EVENT_TYPES if kind == text(value)), None)
    if found is None:
        raise BadCellError(field, f"{_shown(value)} is none of {', '.join(EVENT_TYPES)}")
    return found


def attributes(values: Mapping[str, object], known: Collection[str]) -> dict[str, Attribute]:
    """The other fields of an item: text, numbers, flags; lists of text become `a, b`."""
    found: dict[str, Attribute] = {}
    for name, value in values.items():
        if name in known or is_empty(value):
            continue
        if isinstance(value, bool | int | float) and abs(value) < 2**63:
            found[text(name)] = value
        elif isinstance(value, str):
            found[text(name)] = text(value)
        elif isinstance(value, date):
            found[text(name)] = value.isoformat()
        elif isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            found[text(name)] = ", ".join(text(part) for part in value)
    return found


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _shown(value: object) -> str:
    """The value for a message, cut short."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
