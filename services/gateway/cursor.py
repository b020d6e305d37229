"""The place in a list that the next page begins after, opaque to the caller."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from shared.errors import InvalidInputError

_ORDINAL = re.compile(r"after:([0-9]{1,18})")
_MOMENT = re.compile(r"before:(-?[0-9]{1,18}):([0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_cursor(ordinal: int) -> str:
    return _encode(f"after:{ordinal}")


def decode_cursor(cursor: str) -> int:
    """Raises InvalidInputError for anything that `encode_cursor` did not make."""
    return int(_decode(cursor, _ORDINAL)[1])


def encode_moment(moment: datetime, id_: int) -> str:
    """For lists by time, in which `id_` settles the order of equal times."""
    return _encode(f"before:{(moment - _EPOCH) // _MICROSECOND}:{id_}")


def decode_moment(cursor: str) -> tuple[datetime, int]:
    """Raises InvalidInputError for anything that `encode_moment` did not make."""
    match = _decode(cursor, _MOMENT)
    try:
        return _EPOCH + int(match[1]) * _MICROSECOND, int(match[2])
    except OverflowError as error:
        raise _not_ours() from error


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error
    match = form.fullmatch(text)
    if match is None:
        raise _not_ours()
    return match


def _not_ours() -> InvalidInputError:
    return InvalidInputError.of("cursor", "is not a next_cursor that this API returned")
