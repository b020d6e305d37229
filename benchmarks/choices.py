"""Options of a benchmark that name several of the things it knows."""

from collections.abc import Collection

import typer


def words_of(text: str, known: Collection[str]) -> list[str]:
    """The words of "a,b". Raises typer.BadParameter for one that is not known."""
    words = text.split(",")
    for word in words:
        if word not in known:
            raise typer.BadParameter(f"{word!r} is none of {', '.join(known)}")
    return words
