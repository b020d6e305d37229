"""Timelines for tests, and what their items are like."""

from datetime import UTC, datetime, timedelta

import numpy as np

from experiments.online_loop.timeline import Timeline
from shared.data.records import ItemRecord
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality

T = Modality.TEXT


def timeline_of(events):
    """events: (user, item) in the order of time, by any names; one a minute."""
    users = {user: place for place, user in enumerate(dict.fromkeys(user for user, _ in events))}
    rows = {item: place for place, item in enumerate(dict.fromkeys(item for _, item in events))}
    return Timeline(
        "made up",
        [ItemRecord(str(item), f"Thing {item}") for item in rows],
        np.array([users[user] for user, _ in events]),
        np.array([rows[item] for _, item in events]),
        [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in range(len(events))],
    )


def content_of(timeline, dimension=8):
    table = np.random.default_rng(1).normal(size=(len(timeline.items), dimension))
    return ItemTables(
        {T: table.astype(np.float32)}, {T: np.zeros(len(timeline.items), dtype=np.bool_)}
    )
