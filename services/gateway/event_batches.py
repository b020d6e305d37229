"""Events without number in one request: each line has its own result, and none stops the others."""

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from services.gateway.batch_rows import all_failed, parsed, refused
from services.gateway.event_recording import EventRecorder, Recorded, unknown_item
from services.gateway.ndjson import Line, grouped
from services.gateway.storable import require_storable
from shared.contracts.public import BatchRow, Event
from shared.errors import MmesidError

GROUP_SIZE = 1000
GROUP_BYTES = 4 * 2**20
LINGER_S = 0.2

STATUS = {Recorded.STORED: HTTPStatus.CREATED, Recorded.DUPLICATE: HTTPStatus.OK}


class EventBatches:
    def __init__(self, recorder: EventRecorder, *, max_line_bytes: int) -> None:
        self._recorder = recorder
        self.max_line_bytes = max_line_bytes

    async def rows(self, catalog_id: str, lines: AsyncIterator[Line]) -> AsyncIterator[BatchRow]:
        """The result of every line, in their order, as soon as its group is stored.

        A group is one transaction: what was answered with 201 is there for good.
        """
        groups = grouped(lines, size=GROUP_SIZE, max_bytes=GROUP_BYTES, linger_s=LINGER_S)
        async for group in groups:
            try:
                rows = await self._group(catalog_id, group)
            except Exception as error:
                rows = all_failed(group, error)
            for row in rows:
                yield row

    async def _group(self, catalog_id: str, group: Sequence[Line]) -> list[BatchRow]:
        prepared = [_prepare(line) for line in group]
        events = [event for event in prepared if isinstance(event, Event)]
        outcomes = iter(await self._recorder.store(catalog_id, events))
        return [
            _row(line.number, event, next(outcomes)) if isinstance(event, Event) else event
            for line, event in zip(group, prepared, strict=True)
        ]


def _prepare(line: Line) -> Event | BatchRow:
    try:
        event = parsed(line, Event)
        require_storable(event)
    except MmesidError as error:
        return refused(line.number, error)
    return event


def _row(line: int, event: Event, outcome: Recorded) -> BatchRow:
    """The status is the one that the event alone would have had."""
    if outcome is Recorded.UNKNOWN_ITEM:
        return refused(line, unknown_item(event), event.item_id)
    return BatchRow(line=line, status=STATUS[outcome])
