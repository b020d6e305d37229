"""What JSON can say and Postgres cannot store."""

import math
from typing import Any

from pydantic import BaseModel

from shared.errors import FieldProblem, InvalidInputError


def require_storable(value: BaseModel | str, *, field: str = "") -> None:
    """Raises InvalidInputError for NUL characters, and for numbers that are not finite."""
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    found = _problems(plain, field)
    if found:
        detail = "; ".join(f"{problem.field}: {problem.message}" for problem in found)
        raise InvalidInputError(detail, fields=found)


def _problems(value: Any, field: str) -> list[FieldProblem]:
    if isinstance(value, str) and "\x00" in value:
        return [FieldProblem(field, "must not contain the character NUL")]
    if isinstance(value, float) and not math.isfinite(value):
        return [FieldProblem(field, "must be a finite number")]
    if isinstance(value, dict):
        keys = [p for key in value for p in _problems(key, field)]
        return keys + [p for key in value for p in _problems(value[key], _path(field, key))]
    if isinstance(value, list | tuple):
        return [p for place, part in enumerate(value) for p in _problems(part, _path(field, place))]
    return []


def _path(field: str, part: object) -> str:
    return f"{field}.{part}" if field else str(part)
