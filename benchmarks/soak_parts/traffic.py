"""What users and the shop ask of the platform all the time."""

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from benchmarks.soak_parts.asking import Asker
from benchmarks.soak_parts.ledger import AcceptedEvent, GivenList, Ledger
from benchmarks.soak_parts.plan import Clients
from shared.data.synthetic import SyntheticShop

K = 10
USERS = 200
LONGEST_HISTORY = 20
MOST_EVENTS = 10
KINDS = ("view", "click", "cart", "purchase", "rating")


class Traffic:
    """One request a call. Ids begin with `name`, so that nothing else in the platform has them.

    known_items: of the shop, to be recommended by and to be acted on.
    """

    def __init__(
        self, asker: Asker, ledger: Ledger, known_items: Sequence[str], *, name: str
    ) -> None:
        self._asker = asker
        self._ledger = ledger
        self._items = list(known_items)
        self._name = name
        self._random = random.Random(name)
        self._numbers = count()
        self._new_items = SyntheticShop(seed=1, items=50, users=1)
        self._last_list: dict[str, tuple[str, list[str]]] = {}

    async def recommendation(self) -> None:
        """For a user, or for a history that is sent along."""
        user_id = self._user()
        request: dict[str, Any] = {"user_id": user_id, "k": K}
        if self._random.random() < 0.5:
            length = self._random.randint(1, LONGEST_HISTORY)
            request["history"] = self._random.choices(self._items, k=length)
        answer = await self._asker.ask(
            "recommendations", "POST", "/v1/recommendations", body=request, objection=_is_no_list
        )
        if answer is not None:
            given = GivenList(answer["recommendation_id"], answer["source"], answer["fallback"])
            self._ledger.lists.append(given)
            item_ids = [item["item_id"] for item in answer["items"]]
            self._last_list[user_id] = (given.recommendation_id, item_ids)

    async def events(self) -> None:
        """One event, or several in a list."""
        if self._random.random() < 0.5:
            event = self._event()
            answer = await self._asker.ask(
                "events", "POST", "/v1/events", expected=(201,), body=event,
                objection=_did_not_take(1),
            )  # fmt: skip
            sent = [event]
        else:
            sent = [self._event() for _ in range(self._random.randint(2, MOST_EVENTS))]
            answer = await self._asker.ask(
                "events", "POST", "/v1/events", body={"events": sent},
                objection=_did_not_take(len(sent)),
            )  # fmt: skip
        if answer is not None:
            self._ledger.events += [
                AcceptedEvent(
                    event["event_id"], event["user_id"], event["item_id"], event["event_type"]
                )
                for event in sent
            ]

    async def item(self) -> None:
        """A new item, every other one with an image."""
        number = next(self._numbers)
        body = await asyncio.to_thread(self._new_item, number)
        answer = await self._asker.ask(
            "items", "POST", "/v1/items", expected=(201, 202), body=body, objection=_failed
        )
        if answer is not None:
            self._ledger.items.append(answer["item_id"])
            self._items.append(answer["item_id"])

    def _new_item(self, number: int) -> dict[str, Any]:
        record = self._new_items.held_out_item(number)
        image = record.read_image() if number % 2 == 0 else None
        return {
            "item_id": f"{self._name}-item-{number}",
            "title": record.title,
            "description": record.description,
            "categories": list(record.categories),
            "brand": record.brand,
            "attributes": dict(record.attributes),
            **({} if image is None else {"image_base64": base64.b64encode(image).decode()}),
        }

    def _event(self) -> dict[str, Any]:
        """On an item of the last list that the user was given, if there is one; a third is late."""
        user_id = self._user()
        kind = self._random.choice(KINDS)
        event = {
            "event_id": f"{self._name}-event-{next(self._numbers)}",
            "user_id": user_id,
            "item_id": self._random.choice(self._items),
            "event_type": kind,
        }
        if user_id in self._last_list:
            event["recommendation_id"], item_ids = self._last_list[user_id]
            event["item_id"] = self._random.choice(item_ids)
        if kind == "rating":
            event["rating"] = self._random.randint(1, 5)
        if self._random.random() < 1 / 3:
            event["timestamp"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        return event

    def _user(self) -> str:
        return f"{self._name}-user-{self._random.randrange(USERS)}"


async def keep_asking(
    ask: Callable[[], Awaitable[None]], clients: Clients, stop: asyncio.Event
) -> None:
    """Until `stop` is set; what is under way then is answered first."""

    async def one_client() -> None:
        while not stop.is_set():
            await ask()
            await asyncio.sleep(clients.pause_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients.number):
            group.create_task(one_client())


def _is_no_list(answer: Any) -> str | None:
    item_ids = {item["item_id"] for item in answer["items"]}
    return None if len(item_ids) == len(answer["items"]) == K else f"{len(item_ids)} items"


def _did_not_take(events: int) -> Callable[[Any], str | None]:
    def objection(answer: Any) -> str | None:
        return None if answer["accepted"] == events else f"{answer} for {events} events"

    return objection


def _failed(answer: Any) -> str | None:
    return f"its problem is {answer['problem']}" if answer["status"] == "failed" else None
