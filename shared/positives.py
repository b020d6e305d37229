"""Which of a user's events are positions of the user's sequence.

A history to rank by and a snapshot to train on are both made here, so that a ranker meets the kind
of sequence that it was trained on.
"""

from typing import Literal, get_args

from shared.settings import EventSettings

EventType = Literal["interaction", "view", "click", "cart", "purchase", "rating"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)


def is_positive(event_type: EventType, rating: float | None, rule: EventSettings) -> bool:
    """Whether an event says that the user wants such items."""
    return weighs_enough(event_type, rule) and (rating is None or rating > rule.positive_above)


def weighs_enough(event_type: EventType, rule: EventSettings) -> bool:
    """Whether events of a kind are positives, but for those with a low rating."""
    weight: float = getattr(rule.weights, event_type)
    return weight >= rule.minimum_weight


class Positives:
    """The positions of one user's sequence, from events in the order of time or in its reverse.

    Successive positives with the same item (seen, put into the cart, bought) are one position.

    item_ids: the positions, in the order in which the events were added.
    non_positive, repeated: how many of the events are no position, and why.
    """

    def __init__(self, rule: EventSettings) -> None:
        self._rule = rule
        self.item_ids: list[str] = []
        self.non_positive = 0
        self.repeated = 0

    def add(self, item_id: str, event_type: EventType, rating: float | None) -> None:
        if not is_positive(event_type, rating, self._rule):
            self.non_positive += 1
        elif self.item_ids and self.item_ids[-1] == item_id:
            self.repeated += 1
        else:
            self.item_ids.append(item_id)
