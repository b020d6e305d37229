"""Which interactions count: by rating, and the k-core."""

from collections import Counter
from collections.abc import Iterable, Iterator

from shared.data.records import InteractionRecord


def with_rating_of_at_least(
    interactions: Iterable[InteractionRecord], minimum: float
) -> Iterator[InteractionRecord]:
    """Only what was rated `minimum` or more; an interaction without a rating stays."""
    return (
        interaction
        for interaction in interactions
        if interaction.rating is None or interaction.rating >= minimum
    )


def k_core(interactions: Iterable[InteractionRecord], k: int) -> list[InteractionRecord]:
    """The largest part in which every user and every item has at least k interactions.

    Users and items are dropped in turn until none is left to drop; the order is kept.
    """
    kept = list(interactions)
    while True:
        of_user = Counter(interaction.user_id for interaction in kept)
        of_item = Counter(interaction.item_id for interaction in kept)
        remaining = [
            interaction
            for interaction in kept
            if of_user[interaction.user_id] >= k and of_item[interaction.item_id] >= k
        ]
        if len(remaining) == len(kept):
            return kept
        kept = remaining
