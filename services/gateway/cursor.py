"""The place in a list that the next page begins after, opaque to the caller."""

import base64
import binascii
import re

from shared.errors import InvalidInputError

_FORM = re.compile(r"after:([0-9]{1,18})")


def encode_cursor(ordinal: int) -> str:
    return base64.urlsafe_b64encode(f"after:{ordinal}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Raises InvalidInputError for anything that `encode_cursor` did not make."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error
    match = _FORM.fullmatch(text)
    if match is None:
        raise _not_ours()
    return int(match[1])


def _not_ours() -> InvalidInputError:
    return InvalidInputError.of("cursor", "is not a next_cursor that this API returned")
