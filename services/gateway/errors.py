"""Errors that only a public API has."""

from shared.errors import MmesidError


class PreconditionFailedError(MmesidError):
    """The item has another version than the one that `If-Match` names."""

    status = 412
    slug = "precondition-failed"
    title = "The item was changed meanwhile"


class UnsupportedMediaTypeError(MmesidError):
    """The body is of a kind that the route does not read."""

    status = 415
    slug = "unsupported-media-type"
    title = "The kind of body is not supported"
