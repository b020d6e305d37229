"""What is processed, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum

from shared.database.tables import OutboxRow
from shared.errors import InvalidInputError, MmesidError, PayloadTooLargeError


class Action(StrEnum):
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True)
class Change:
    """One version of one item that the index and the ranking do not know yet."""

    item_id: str
    version: int
    action: Action = Action.UPSERT


class Result(StrEnum):
    """How processing a change ended. All but `postponed` are final."""

    READY = "ready"
    REMOVED = "removed"
    STALE = "stale"  # the item has a newer version, or is gone: nothing to do
    FAILED = "failed"  # the item itself is at fault: no attempt will mend it
    POSTPONED = "postponed"  # something else was not there: try again


@dataclass(frozen=True)
class Outcome:
    """What came of a change; `error` says why it failed or was postponed."""

    change: Change
    result: Result
    error: MmesidError | None = None

    @property
    def is_final(self) -> bool:
        return self.result is not Result.POSTPONED


def change_of(row: OutboxRow) -> Change:
    """The change that an outbox row stands for."""
    return Change(row.item_id, row.item_version, Action(row.action))


def outcome_of_error(change: Change, error: MmesidError) -> Outcome:
    """Wrong input stays wrong; everything else may pass."""
    permanent = isinstance(error, InvalidInputError | PayloadTooLargeError)
    return Outcome(change, Result.FAILED if permanent else Result.POSTPONED, error)
