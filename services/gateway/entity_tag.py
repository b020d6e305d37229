"""Entity tags of items: the version in quotes."""

import re

from shared.errors import InvalidInputError

_FORM = re.compile(r'"([0-9]{1,9})"')


def entity_tag(version: int) -> str:
    return f'"{version}"'


def version_of(if_match: str | None) -> int | None:
    """The version that an If-Match header asks for; None where any will do.

    Raises:
        InvalidInputError: not a tag that this API returned.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = _FORM.fullmatch(if_match.strip())
    if match is None:
        raise InvalidInputError.of("If-Match", "is not the ETag of an item")
    return int(match[1])
