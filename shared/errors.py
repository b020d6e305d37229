"""Errors that carry what the caller needs; every one becomes an RFC 9457 problem document.

MmesidError                 500
├── InvalidInputError       422  a field of the request is wrong: names the field and the cause
│   ├── BrokenImageError    422  the bytes are no image that can be read
│   └── UnknownItemsError   422  none of the items named is known
├── UnauthenticatedError    401  no API key, or an unknown one
├── ForbiddenError          403  the key lacks the scope
├── NotFoundError           404
├── ConflictError           409  the state of the thing does not allow it
│   └── GateFailedError     409  the bundle is not good enough to go live
├── PayloadTooLargeError    413  too many bytes, or an image of too many pixels
├── OverloadedError         429  the queue is full: try again after `retry_after_s`
├── UnavailableError        503  a service or a model this needs is not there now
│   └── BundleNotLoadedError 503 the bundle named is not held by the service
└── AbandonedError          499  the client went away before its answer
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field: its path in the request (`history.3`) and what is wrong with it."""

    field: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return {"field": self.field, "message": self.message}


class MmesidError(Exception):
    """Base of all errors that a caller may meet."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        fields: Sequence[FieldProblem] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 members; `errors` lists the fields, where fields are at fault."""
        document: dict[str, Any] = {
            "type": f"urn:mmesid:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.fields:
            document["errors"] = [field.as_dict() for field in self.fields]
        if self.retry_after_s is not None:
            document["retry_after_s"] = self.retry_after_s
        return document


class InvalidInputError(MmesidError):
    """A field of the request is wrong."""

    status = 422
    slug = "invalid-input"
    title = "The request is not valid"

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidInputError":
        """The common case: one field, one cause."""
        return cls(f"{field}: {message}", fields=[FieldProblem(field, message)])


class BrokenImageError(InvalidInputError):
    """The bytes are no image that can be read."""

    slug = "broken-image"
    title = "The image cannot be read"


class UnknownItemsError(InvalidInputError):
    """None of the items named is known to the catalogue."""

    slug = "unknown-items"
    title = "None of the items is known"


class UnauthenticatedError(MmesidError):
    """No API key was sent, or an unknown one."""

    status = 401
    slug = "unauthenticated"
    title = "An API key is needed"


class ForbiddenError(MmesidError):
    """The API key lacks the scope that the request needs."""

    status = 403
    slug = "forbidden"
    title = "The API key does not allow this"


class NotFoundError(MmesidError):
    """The thing named does not exist in this catalogue."""

    status = 404
    slug = "not-found"
    title = "Not found"


class ConflictError(MmesidError):
    """The state of the thing does not allow what was asked."""

    status = 409
    slug = "conflict"
    title = "Conflict"


class GateFailedError(ConflictError):
    """The bundle is published, but its quality forbids that it goes live."""

    slug = "gate-failed"
    title = "The bundle is not good enough to go live"


class PayloadTooLargeError(MmesidError):
    """Too many bytes, or an image of too many pixels."""

    status = 413
    slug = "payload-too-large"
    title = "The payload is too large"


class OverloadedError(MmesidError):
    """The queue is full; `retry_after_s` says when to come back."""

    status = 429
    slug = "overloaded"
    title = "Too many requests"


class UnavailableError(MmesidError):
    """A service or a model that this needs is not there now."""

    status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"


class BundleNotLoadedError(UnavailableError):
    """The bundle named is not held by the service that was asked."""

    slug = "bundle-not-loaded"
    title = "The bundle is not loaded"


class AbandonedError(MmesidError):
    """The client went away before its answer; only metrics and logs see this."""

    status = 499
    slug = "abandoned"
    title = "The client went away"


BY_SLUG: dict[str, type[MmesidError]] = {
    error.slug: error
    for error in (
        InvalidInputError, BrokenImageError, UnknownItemsError, UnauthenticatedError,
        ForbiddenError, NotFoundError, ConflictError, GateFailedError, PayloadTooLargeError,
        OverloadedError, UnavailableError, BundleNotLoadedError, AbandonedError, MmesidError,
    )
}  # fmt: skip


def from_problem(document: dict[str, Any]) -> MmesidError:
    """The error that another service answered with, to be raised again on this side."""
    slug = str(document.get("type", "")).rpartition(":")[2]
    error = BY_SLUG.get(slug, MmesidError)
    fields = [
        FieldProblem(str(row.get("field", "")), str(row.get("message", "")))
        for row in document.get("errors", [])
    ]
    return error(
        str(document.get("detail", "")),
        fields=fields,
        retry_after_s=document.get("retry_after_s"),
    )
