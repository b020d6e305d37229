"""Many items in one request: each row has its own result, and none stops the others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from services.gateway.batch_rows import all_failed, parsed, refused
from services.gateway.item_intake import ItemIntake, StoredItem
from services.gateway.ndjson import Line, grouped
from shared.contracts.common import Problem
from shared.contracts.public import BatchRow, ItemCreate
from shared.database.items import NewItem
from shared.errors import MmesidError
from shared.ingestion.change import Outcome, Result
from shared.ingestion.pipeline import ItemPipeline

GROUP_SIZE = 32
GROUP_BYTES = 16 * 2**20
LINGER_S = 0.2


@dataclass(frozen=True)
class _Prepared:
    line: int
    item: NewItem


class BatchIntake:
    def __init__(self, intake: ItemIntake, pipeline: ItemPipeline, *, max_line_bytes: int) -> None:
        self._intake = intake
        self._pipeline = pipeline
        self.max_line_bytes = max_line_bytes

    async def rows(self, catalog_id: str, lines: AsyncIterator[Line]) -> AsyncIterator[BatchRow]:
        """The result of every line, in their order, as soon as its group is done."""
        groups = grouped(lines, size=GROUP_SIZE, max_bytes=GROUP_BYTES, linger_s=LINGER_S)
        try_at_once = True
        async for group in groups:
            try:
                rows, try_at_once = await self._group(catalog_id, group, try_at_once)
            except Exception as error:
                rows = all_failed(group, error)
            for row in rows:
                yield row

    async def _group(
        self, catalog_id: str, group: Sequence[Line], try_at_once: bool
    ) -> tuple[list[BatchRow], bool]:
        """The results, and whether the next group should be made ready at once as well.

        Once a service was not there, the rest of the batch is left to the relay: waiting for it
        group by group would only hold up the caller.
        """
        prepared = await asyncio.gather(*(self._prepare(catalog_id, line) for line in group))
        accepted = [row for row in prepared if isinstance(row, _Prepared)]
        results = await self._intake.store(catalog_id, [row.item for row in accepted])
        stored = dict(zip((row.line for row in accepted), results, strict=True))
        outcomes: dict[str, Outcome] = {}
        if try_at_once:
            changes = [
                result.change
                for result in results
                if isinstance(result, StoredItem) and result.is_new
            ]
            for outcome in await self._pipeline.process(catalog_id, changes):
                outcomes[outcome.change.item_id] = outcome
        rows = [
            row if isinstance(row, BatchRow) else _row(row, stored[row.line], outcomes)
            for row in prepared
        ]
        return rows, try_at_once and all(outcome.is_final for outcome in outcomes.values())

    async def _prepare(self, catalog_id: str, line: Line) -> _Prepared | BatchRow:
        try:
            create = parsed(line, ItemCreate)
        except MmesidError as error:
            return refused(line.number, error)
        try:
            return _Prepared(line.number, await self._intake.prepare(catalog_id, create))
        except MmesidError as error:
            return refused(line.number, error, create.item_id)


def _row(
    prepared: _Prepared, stored: StoredItem | MmesidError, outcomes: dict[str, Outcome]
) -> BatchRow:
    """The status is the one that the item alone would have had."""
    item_id = prepared.item.item_id
    if isinstance(stored, MmesidError):
        return refused(prepared.line, stored, item_id)
    if not stored.is_new:
        return BatchRow(line=prepared.line, status=HTTPStatus.OK, item_id=item_id)
    outcome = outcomes.get(item_id)
    if outcome is None or outcome.result in (Result.POSTPONED, Result.STALE):
        return BatchRow(line=prepared.line, status=HTTPStatus.ACCEPTED, item_id=item_id)
    problem = None if outcome.error is None else Problem(**outcome.error.problem())
    return BatchRow(line=prepared.line, status=HTTPStatus.CREATED, item_id=item_id, problem=problem)
