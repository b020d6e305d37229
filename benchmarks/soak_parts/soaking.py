"""The soak: everything at once for a while, then the reckoning."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soak_parts.asking import Asker, asking
from benchmarks.soak_parts.checking import losses
from benchmarks.soak_parts.ledger import Ledger, Loss
from benchmarks.soak_parts.operating import Operation, Operator
from benchmarks.soak_parts.plan import Plan, Target
from benchmarks.soak_parts.stored import Stored
from benchmarks.soak_parts.traffic import Traffic, keep_asking
from shared.database.session import Database
from shared.errors import NotFoundError


@dataclass(frozen=True)
class Outcome:
    """seconds: how long requests came."""

    ledger: Ledger
    operations: list[Operation]
    lost: list[Loss]
    seconds: float

    @property
    def failures(self) -> list[str]:
        """All that went wrong, in words; nothing, if nothing did."""
        return [
            *(request.failure for request in self.ledger.requests if request.failure is not None),
            *(f"{one.name}: {one.failure}" for one in self.operations if one.failure is not None),
            *(f"lost of {one.kind}: {one.name} {one.cause}" for one in self.lost),
        ]


async def soak(target: Target, plan: Plan, *, on_step: Callable[[str], None]) -> Outcome:
    """Ask for recommendations, post items and events all the time while an operator works; then
    look for everything that was accepted. on_step: told what happens.

    Raises NotFoundError where the catalogue has no ready item to begin with.
    """
    ledger = Ledger()
    database = Database(target.database)
    try:
        async with asking(target, ledger) as asker:
            known = await _known_items(asker)
            traffic = Traffic(asker, ledger, known, name=f"soak-{secrets.token_hex(4)}")
            operator = Operator(asker, ledger, plan, on_step)
            await _under_load(traffic, operator, plan, ledger)
            seconds = ledger.now_s()
            on_step(f"{seconds:.0f} s: no more requests; looking for what was accepted")
            lost = await losses(ledger, Stored(database, target.catalog_id), asker)
    finally:
        await database.close()
    return Outcome(ledger, operator.done, lost, seconds)


async def _under_load(traffic: Traffic, operator: Operator, plan: Plan, ledger: Ledger) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(operator.watch())
        group.create_task(keep_asking(traffic.recommendation, plan.recommending, stop))
        group.create_task(keep_asking(traffic.events, plan.posting_events, stop))
        group.create_task(keep_asking(traffic.item, plan.posting_items, stop))
        operating = group.create_task(operator.operate())
        await asyncio.wait({operating}, timeout=plan.seconds + plan.overtime_s)
        operating.cancel()
        await asyncio.sleep(max(0.0, plan.seconds - ledger.now_s()))
        stop.set()
        watching.cancel()


async def _known_items(asker: Asker) -> list[str]:
    page = await asker.ask("checks", "GET", "/v1/items", params={"status": "ready", "limit": 500})
    if page is None or not page["items"]:
        raise NotFoundError("the catalogue has no ready item: train a first bundle")
    return [item["item_id"] for item in page["items"]]
