"""Events of users, stored as interactions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum

from services.gateway.batch_rows import refused
from services.gateway.storable import require_storable
from shared.contracts.public import Event, EventBatch, EventResult
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository
from shared.database.session import Database
from shared.errors import FieldProblem, UnknownItemsError


class Recorded(Enum):
    """What became of an event."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    UNKNOWN_ITEM = "unknown item"


class EventRecorder:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, catalog_id: str, event: Event) -> EventResult:
        """Store one event.

        Raises:
            InvalidInputError: a text that cannot be stored.
            UnknownItemsError: there is no such item.
        """
        require_storable(event)
        (outcome,) = await self.store(catalog_id, [event])
        if outcome is Recorded.UNKNOWN_ITEM:
            raise unknown_item(event)
        return _result([outcome], [event])

    async def record_all(self, catalog_id: str, batch: EventBatch) -> EventResult:
        """Store the events whose item is known; the others are rejected, row by row.

        Raises:
            InvalidInputError: a text that cannot be stored.
        """
        require_storable(batch)
        return _result(await self.store(catalog_id, batch.events), batch.events)

    async def store(self, catalog_id: str, events: Sequence[Event]) -> list[Recorded]:
        """What became of each event, in one transaction. They have to be storable."""
        arrived = datetime.now(UTC)
        async with self._database.transaction() as session:
            known = await ItemRepository(session, catalog_id).existing(
                {event.item_id for event in events}
            )
            new = iter(
                await InteractionRepository(session, catalog_id).add(
                    [_interaction(event, arrived) for event in events if event.item_id in known]
                )
            )
        return [
            Recorded.UNKNOWN_ITEM
            if event.item_id not in known
            else Recorded.STORED
            if next(new)
            else Recorded.DUPLICATE
            for event in events
        ]


def unknown_item(event: Event, *, field: str = "item_id") -> UnknownItemsError:
    """The error of an event whose item there is not."""
    cause = f"there is no item {event.item_id!r}"
    return UnknownItemsError(f"{field}: {cause}", fields=[FieldProblem(field, cause)])


def _result(outcomes: Sequence[Recorded], events: Sequence[Event]) -> EventResult:
    return EventResult(
        accepted=outcomes.count(Recorded.STORED),
        duplicates=outcomes.count(Recorded.DUPLICATE),
        rejected=[
            refused(place + 1, unknown_item(event, field=f"events.{place}.item_id"), event.item_id)
            for place, (event, outcome) in enumerate(zip(events, outcomes, strict=True))
            if outcome is Recorded.UNKNOWN_ITEM
        ],
    )


def _interaction(event: Event, arrived: datetime) -> NewInteraction:
    return NewInteraction(
        user_id=event.user_id,
        item_id=event.item_id,
        event_type=event.event_type,
        occurred_at=event.timestamp or arrived,
        rating=event.rating,
        recommendation_id=event.recommendation_id,
        event_id=event.event_id,
    )
