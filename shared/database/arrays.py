"""Many values in one statement.

`IN` and `VALUES` bind one parameter a value, and Postgres takes 65,535 in a statement; an array is
one, and the statement is as short for many values as for few.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import ColumnElement, TableValuedAlias, Text, any_, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

from shared.database.tables import Base

# With up to 12 columns a row this stays below 65,535 parameters.
ROWS_A_STATEMENT = 5000

Row = TypeVar("Row")


def is_one_of(column: InstrumentedAttribute[str], values: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a text column holds one of the values."""
    return column == any_(literal(list(values), ARRAY(Text)))


def rows_of(table: type[Base], columns: Mapping[str, Sequence[object]]) -> TableValuedAlias:
    """Rows to select from in their order, given by the columns of a table, all of one length."""
    arrays = [
        literal(list(values), ARRAY(table.__table__.c[name].type))
        for name, values in columns.items()
    ]
    return func.unnest(*arrays).table_valued(*columns, name="given").render_derived()


def in_chunks(rows: Iterable[Row], size: int = ROWS_A_STATEMENT) -> Iterator[list[Row]]:
    """The rows in pieces that one statement can take."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
