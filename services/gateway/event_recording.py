"""Events of users, stored as interactions."""

from datetime import UTC, datetime

from services.gateway.storable import require_storable
from shared.contracts.common import Problem
from shared.contracts.public import BatchRow, Event, EventBatch, EventResult
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository
from shared.database.session import Database
from shared.errors import FieldProblem, UnknownItemsError


class EventRecorder:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, catalog_id: str, batch: EventBatch) -> EventResult:
        """Store the events whose item is known; the others are rejected, row by row.

        Raises:
            InvalidInputError: a text that cannot be stored.
        """
        require_storable(batch)
        arrived = datetime.now(UTC)
        async with self._database.transaction() as session:
            known = await ItemRepository(session, catalog_id).get_many(
                sorted({event.item_id for event in batch.events})
            )
            accepted = [event for event in batch.events if event.item_id in known]
            stored = await InteractionRepository(session, catalog_id).add(
                [_interaction(event, arrived) for event in accepted]
            )
        return EventResult(
            accepted=stored,
            duplicates=len(accepted) - stored,
            rejected=[
                _unknown(line, event)
                for line, event in enumerate(batch.events, start=1)
                if event.item_id not in known
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


def _unknown(line: int, event: Event) -> BatchRow:
    field = f"events.{line - 1}.item_id"
    error = UnknownItemsError(
        f"{field}: there is no item {event.item_id!r}",
        fields=[FieldProblem(field, f"there is no item {event.item_id!r}")],
    )
    return BatchRow(
        line=line,
        status=error.status,
        item_id=event.item_id,
        problem=Problem(**error.problem()),
    )
