"""Lines of a batch into what they say, and into the rows that refuse them."""

from collections.abc import Sequence
from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from services.gateway.ndjson import Line
from services.gateway.problems import DATABASE_AWAY, database_unavailable, invalid_model
from shared.contracts.common import Problem
from shared.contracts.public import BatchRow
from shared.errors import FieldProblem, MmesidError, PayloadTooLargeError

Said = TypeVar("Said", bound=BaseModel)

log = structlog.get_logger()


def parsed(line: Line, kind: type[Said]) -> Said:
    """
    Raises:
        PayloadTooLargeError: the line was longer than allowed.
        InvalidInputError: its JSON or one of its fields is wrong.
    """
    if line.data is None:
        cause = "is longer than a line may be"
        raise PayloadTooLargeError(
            f"line {line.number}: {cause}", fields=[FieldProblem("line", cause)]
        )
    try:
        return kind.model_validate_json(line.data)
    except ValidationError as error:
        raise invalid_model(error) from error


def refused(line: int, error: MmesidError, item_id: str | None = None) -> BatchRow:
    return BatchRow(
        line=line, status=error.status, item_id=item_id, problem=Problem(**error.problem())
    )


def all_failed(group: Sequence[Line], error: Exception) -> list[BatchRow]:
    """The rows of lines that nothing came of: the database is away, or a mistake is ours."""
    if isinstance(error, DATABASE_AWAY):
        cause: MmesidError = database_unavailable(error)
    else:
        log.error("unexpected error in a batch", exc_info=error)
        cause = MmesidError("An error that was not foreseen; the log says more.")
    return [refused(line.number, cause) for line in group]
