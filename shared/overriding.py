"""A config with some of its settings changed, as requests and files of settings ask for it."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.errors import FieldProblem, InvalidInputError

Config = TypeVar("Config")


def overridden(config: Config, changes: Mapping[str, Any], field: str) -> Config:
    """`config` (a dataclass) with some of its settings changed; `field` names it in errors.

    Raises InvalidInputError for a name it does not have, or a value of the wrong kind.
    """
    values = _merged(config, changes, field)
    kind: type[Config] = type(config)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problems = [
            FieldProblem(".".join([field, *map(str, row["loc"])]), row["msg"])
            for row in error.errors()
        ]
    except InvalidInputError as error:
        problems = [
            FieldProblem(f"{field}.{problem.field.removeprefix(f'{field}.')}", problem.message)
            for problem in error.fields
        ]
    detail = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
    raise InvalidInputError(detail, fields=problems)


def _merged(config: Any, changes: Mapping[str, Any], field: str) -> dict[str, Any]:
    known = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    for name, value in changes.items():
        if name not in known:
            raise InvalidInputError.of(
                f"{field}.{name}", f"no setting has this name; there are {', '.join(sorted(known))}"
            )
        nested = is_dataclass(known[name]) and isinstance(value, Mapping)
        known[name] = _merged(known[name], value, f"{field}.{name}") if nested else value
    return {name: asdict(value) if _is_config(value) else value for name, value in known.items()}


def _is_config(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)
