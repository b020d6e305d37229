"""The problem documents of the public API, in answers and in OpenAPI."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.errors import InvalidInputError, MmesidError, UnauthenticatedError, UnavailableError
from shared.http import (
    PROBLEM_JSON,
    install_problem_handlers,
    invalid_input,
    problem_response,
)

Responses = dict[int | str, dict[str, Any]]

DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)


def problems(*errors: type[MmesidError]) -> Responses:
    """The `responses` of a route: the problems that it may answer with."""
    return {
        error.status: {
            "description": error.title,
            "content": {
                PROBLEM_JSON: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": error("What is wrong, in a sentence.").problem(),
                }
            },
        }
        for error in errors
    }


def install_gateway_problems(app: FastAPI) -> None:
    """The handlers of every service, and what a public API says more exactly."""
    install_problem_handlers(app)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid_request(error))

    @app.exception_handler(UnauthenticatedError)
    async def unauthenticated(_: Request, error: UnauthenticatedError) -> Response:
        response = problem_response(error)
        response.headers["WWW-Authenticate"] = 'Bearer realm="mmesid"'
        return response

    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, database_problem)


async def database_problem(_: Request, error: Exception) -> Response:
    """A database that is away is no fault of the request."""
    return problem_response(database_unavailable(error))


def database_unavailable(error: Exception) -> UnavailableError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return UnavailableError(
        f"The database does not answer: {type(cause).__name__}", retry_after_s=2
    )


def invalid_request(error: RequestValidationError) -> InvalidInputError:
    """As `shared.http.invalid_input`, with the line and column of malformed JSON."""
    first = error.errors()[0]
    if first["type"] == "json_invalid" and isinstance(error.body, str):
        position = int(first["loc"][-1])
        line = error.body.count("\n", 0, position) + 1
        column = position - error.body.rfind("\n", 0, position)
        return malformed_json(f"{first['ctx']['error']} at line {line} column {column}")
    return invalid_input(error)


def invalid_model(error: ValidationError) -> InvalidInputError:
    """The same for a body that a route validates itself."""
    rows = error.errors()
    if rows[0]["type"] == "json_invalid":
        return malformed_json(str(rows[0]["ctx"]["error"]))
    return invalid_input(RequestValidationError(rows))


def malformed_json(cause: str) -> InvalidInputError:
    return InvalidInputError.of("body", f"malformed JSON: {cause}")
