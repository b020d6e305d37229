"""Interactions into one sequence a user."""

from collections.abc import Iterable
from datetime import datetime

from shared.data.records import InteractionRecord


def build_sequences(
    interactions: Iterable[InteractionRecord], max_length: int | None = None
) -> dict[str, list[str]]:
    """The item ids of every user, oldest first; users stand in the order they first appear in.

    Interactions of the same time keep the order they came in, and repeats of an item are kept, also
    next to each other. With `max_length` only the latest so many remain.

    Raises:
        ValueError: `max_length` is below 1.
    """
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1, not {max_length}")
    events: dict[str, list[tuple[datetime, str]]] = {}
    for interaction in interactions:
        event = (interaction.timestamp, interaction.item_id)
        events.setdefault(interaction.user_id, []).append(event)
    sequences: dict[str, list[str]] = {}
    for user_id, of_user in events.items():
        of_user.sort(key=lambda event: event[0])
        latest = of_user if max_length is None else of_user[-max_length:]
        sequences[user_id] = [item_id for _, item_id in latest]
    return sequences
