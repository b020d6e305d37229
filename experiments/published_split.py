"""Sequences as somebody published them, beside a data set: their own ids, mapped to its items.

Two forms of the file: a table `user_id, item_id, position` (.tsv, .tsv.gz), or a user a line:
`user item item ...`. The map is a table whose first column is the file's item id and whose second
is the data set's.
"""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from shared.errors import InvalidInputError


def read_published_split(sequences: Path, item_map: Path | None) -> list[list[str]]:
    """A list of item ids of the data set a user, oldest first, in the order of the file.

    Raises InvalidInputError when a file cannot be read, or names an item that the map does not.
    """
    ids = dict(_columns(item_map)) if item_map is not None else None
    users = _of_lines(sequences) if sequences.suffix == ".txt" else _of_table(sequences)
    if ids is None:
        return users
    try:
        return [[ids[item] for item in items] for items in users]
    except KeyError as error:
        raise InvalidInputError.of(
            "data.item_map", f"{item_map} does not name the item {error.args[0]} of {sequences}"
        ) from error


def _of_lines(path: Path) -> list[list[str]]:
    return [line.split()[1:] for line in _lines(path)]


def _of_table(path: Path) -> list[list[str]]:
    lines = _lines(path)
    head = next(lines, "").split("\t")
    if head[:3] != ["user_id", "item_id", "position"]:
        raise InvalidInputError.of(
            "data.sequences", f"{path} has the columns {head}, not user_id, item_id, position"
        )
    users: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in lines:
        user, item, position = line.split("\t")[:3]
        users[user].append((int(position), item))
    return [[item for _, item in sorted(rows)] for rows in users.values()]


def _columns(path: Path) -> Iterator[tuple[str, str]]:
    lines = _lines(path)
    next(lines, None)
    for line in lines:
        theirs, ours = line.split("\t")[:2]
        yield theirs, ours


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            for line in file:
                yield line.rstrip("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInputError.of("data.sequences", f"{path} cannot be read: {error}") from error
