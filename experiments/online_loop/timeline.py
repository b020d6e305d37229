"""What users did, in the order of time, and what of it was known at a moment.

A moment is a number of events: those before it have happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.catalogue import Catalogue, Say, read_interactions
from experiments.settings import DataSettings
from shared.data.records import ItemRecord
from shared.errors import InvalidInputError
from shared.modeling.sequences import ItemRows

EventNumbers = NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """users, rows, times: [E] of each event its user's number, its item's row, and when it was.

    items: by row, in the order in which they are first met: those met by a moment are the first.
    """

    name: str
    items: Sequence[ItemRecord]
    users: NDArray[np.int64]
    rows: ItemRows
    times: Sequence[datetime]

    def __len__(self) -> int:
        return len(self.rows)

    def items_met(self, moment: int) -> int:
        """How many items occur before the moment."""
        return int(self.rows[:moment].max(initial=-1)) + 1

    def sequences(self, moment: int) -> list[ItemRows]:
        """The item rows of every user whom there was before the moment, oldest first."""
        users = self.users[:moment]
        by_user = np.argsort(users, kind="stable")
        starts = np.flatnonzero(np.diff(users[by_user])) + 1
        return np.split(self.rows[:moment][by_user], starts)

    def history(self, event: int) -> ItemRows:
        """What the event's user had met before it, oldest first."""
        own = self._events_of[self.users[event]]
        history: ItemRows = self.rows[own[: np.searchsorted(own, event)]]
        return history

    def with_history(self, first: int, last: int) -> EventNumbers:
        """Those of the events first, ..., last - 1 that are not the first one of their user."""
        events = np.arange(first, last)
        begins = np.array([own[0] for own in self._events_of])
        later: EventNumbers = events[begins[self.users[events]] < events]
        return later

    def catalogue(self) -> Catalogue:
        return Catalogue(self.name, self.items, self.sequences(len(self)))

    @cached_property
    def _events_of(self) -> list[EventNumbers]:
        """By user, in the order of time."""
        by_user = np.argsort(self.users, kind="stable")
        return np.split(by_user, np.flatnonzero(np.diff(self.users[by_user])) + 1)


def read_timeline(path: Path, settings: DataSettings, say: Say) -> Timeline:
    """Events of the same time keep their order in the file; items that nobody met are left out.

    Raises InvalidInputError when no usable interaction is left, or the settings name sequences,
    which have no times.
    """
    if settings.sequences is not None:
        raise InvalidInputError.of("data.sequences", "have no times to replay: must be null")
    read = read_interactions(path, settings, say)
    events = sorted(read.interactions, key=lambda event: event.timestamp)
    user_of: dict[str, int] = {}
    row_of: dict[str, int] = {}
    users = [user_of.setdefault(event.user_id, len(user_of)) for event in events]
    rows = [row_of.setdefault(event.item_id, len(row_of)) for event in events]
    records = {item.item_id: item for item in read.items}
    return Timeline(
        read.name,
        [records[item_id] for item_id in row_of],
        np.array(users, dtype=np.int64),
        np.array(rows, dtype=np.int64),
        [event.timestamp for event in events],
    )
