"""What kind of body a request has."""

from email.message import Message

from fastapi import Request

from services.gateway.errors import UnsupportedMediaTypeError
from shared.errors import FieldProblem


def content_type_of(request: Request) -> str:
    """In lower case and without parameters, as in `application/json`."""
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    return header.get_content_type()


def unsupported(kind: str, advice: str) -> UnsupportedMediaTypeError:
    return UnsupportedMediaTypeError(
        f"Content-Type: {advice}", fields=[FieldProblem("Content-Type", f"{kind} is not supported")]
    )
