"""What the configs of several models ask of their settings."""

from shared.errors import InvalidInputError


def require_at_least_one(config: object, *names: str) -> None:
    """Raises InvalidInputError that names the first of these settings which is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise InvalidInputError.of(name, f"must be at least 1, not {getattr(config, name)}")
