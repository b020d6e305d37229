"""Whether everything that was accepted is there: in Postgres, and for whoever asks the API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from benchmarks.soak_parts.asking import Asker
from benchmarks.soak_parts.ledger import Ledger, Loss
from benchmarks.soak_parts.stored import Stored

# Items of which a service was away are tried again after a minute at most.
READY_WITHIN_S = 180.0
LOOK_EVERY_S = 0.5
AT_ONCE = 8
ALLOWED = 100  # items a list is narrowed down to
KIND = "checks"
MODALITIES = {"collaborative", "text", "visual"}

Thing = TypeVar("Thing")


async def losses(ledger: Ledger, stored: Stored, asker: Asker) -> list[Loss]:
    """Everything that was accepted and is not there; nothing, if all is well."""
    return [
        *await _lost_events(ledger, stored, asker),
        *await _lost_lists(ledger, stored),
        *await _lost_items(ledger, stored, asker),
    ]


async def _lost_events(ledger: Ledger, stored: Stored, asker: Asker) -> list[Loss]:
    """In Postgres as they were sent, and among what their users did."""
    rows = await stored.events([event.event_id for event in ledger.events])
    shown: set[str] = set()

    async def read(user_id: str) -> None:
        shown.update([event_id async for event_id in _events_of(user_id, asker)])

    await _each(sorted({event.user_id for event in ledger.events}), read)
    return [
        Loss("events", event.event_id, cause)
        for event in ledger.events
        for cause, is_there in (
            ("is not in Postgres", event in rows),
            ("is not shown among its user's events", event.event_id in shown),
        )
        if not is_there
    ]


async def _events_of(user_id: str, asker: Asker) -> AsyncIterator[str]:
    cursor: str | None = None
    while True:
        params = {"limit": 500} | ({} if cursor is None else {"cursor": cursor})
        page = await asker.ask(KIND, "GET", f"/v1/users/{user_id}/events", params=params)
        if page is None:
            return
        for event in page["events"]:
            yield event["event_id"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


async def _lost_lists(ledger: Ledger, stored: Stored) -> list[Loss]:
    """They are written a moment after their answers went out."""
    wanted = [given.recommendation_id for given in ledger.lists]

    async def missing() -> set[str]:
        return set(wanted) - await stored.lists(wanted)

    lost = await _wait_for_none(missing)
    return [Loss("recommendations", name, "is not in the log") for name in sorted(lost)]


async def _lost_items(ledger: Ledger, stored: Stored, asker: Asker) -> list[Loss]:
    """Ready in Postgres, ready under the live bundle, in the index, and rankable."""

    async def not_ready() -> set[str]:
        statuses = await stored.item_statuses(ledger.items)
        return {item_id for item_id in ledger.items if statuses.get(item_id) != "ready"}

    await _wait_for_none(not_ready)
    statuses = await stored.item_statuses(ledger.items)
    lost = [
        Loss("items", item_id, f"is {statuses.get(item_id, 'not stored')} in Postgres")
        for item_id in ledger.items
        if statuses.get(item_id) != "ready"
    ]
    live = ledger.live[-1][1]

    async def look_up(item_id: str) -> None:
        item = await asker.ask(KIND, "GET", f"/v1/items/{item_id}")
        ids = (item or {}).get("semantic_ids") or {}
        if item is None or (item["status"], item["bundle"]) != ("ready", live):
            lost.append(Loss("items", item_id, f"is shown as {item}, not ready under {live}"))
        elif set(ids) != MODALITIES:
            lost.append(Loss("items", item_id, f"has semantic IDs of {sorted(ids)} only"))
        near = await asker.ask(KIND, "GET", f"/v1/items/{item_id}/similar", params={"k": 1})
        if near is None or near["bundle"] != live or len(near["items"]) != 1:
            lost.append(Loss("items", item_id, f"is not in the index: {near}"))

    async def rank(item_ids: Sequence[str]) -> None:
        request = {
            "history": [ledger.items[0]],
            "k": len(item_ids),
            "exclude_seen": False,
            "filter": {"allow": list(item_ids)},
        }
        answer = await asker.ask(KIND, "POST", "/v1/recommendations", body=request)
        ranked = {item["item_id"] for item in answer["items"]} if answer else set()
        missing = [item_id for item_id in item_ids if item_id not in ranked]
        lost.extend(Loss("items", item_id, "cannot be recommended") for item_id in missing)

    await _each(ledger.items, look_up)
    starts = range(0, len(ledger.items), ALLOWED)
    await _each([ledger.items[start : start + ALLOWED] for start in starts], rank)
    return lost


async def _wait_for_none(missing: Callable[[], Awaitable[set[str]]]) -> set[str]:
    """What is still missing when the time is over."""
    deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
    while (left := await missing()) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
    return left


async def _each(things: Sequence[Thing], work: Callable[[Thing], Awaitable[None]]) -> None:
    """Some at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(thing: Thing) -> None:
        async with places:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for thing in things:
            group.create_task(one(thing))
