"""Comparisons with many values at once.

`IN` binds one parameter a value, and Postgres takes 65,535 in a statement; an array is one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, Text, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

# With up to 12 columns a row this stays below 65,535 parameters.
ROWS_A_STATEMENT = 5000

Row = TypeVar("Row")


def is_one_of(column: InstrumentedAttribute[str], values: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a text column holds one of the values."""
    return column == any_(literal(list(values), ARRAY(Text)))


def in_chunks(rows: Sequence[Row], size: int = ROWS_A_STATEMENT) -> Iterator[Sequence[Row]]:
    """The rows in pieces that one statement can take."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
