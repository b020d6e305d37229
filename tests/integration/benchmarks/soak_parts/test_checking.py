"""The reckoning of a soak, over a real database and an API that can be told to forget."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from benchmarks.soak_parts import checking
from benchmarks.soak_parts.asking import Asker
from benchmarks.soak_parts.ledger import AcceptedEvent, GivenList, Ledger
from benchmarks.soak_parts.stored import Stored
from shared.database.interactions import InteractionRepository, NewInteraction
from shared.database.items import ItemRepository, NewItem
from shared.database.recommendations import GivenRecommendation, RecommendationRepository
from shared.database.session import Database
from shared.database.users import UserRepository
from shared.ingestion.item_content import item_content

pytestmark = pytest.mark.integration

CATALOG = "shop"
NOW = datetime.now(UTC)


@pytest.fixture
async def database(settings):
    database = Database(settings.database)
    yield database
    await database.close()


@pytest.fixture
async def ledger(database) -> Ledger:
    """Of two items, two events and a list, all of which are stored."""
    ledger = Ledger(
        items=["a", "b"],
        events=[AcceptedEvent(f"e{n}", "u", "a", "click") for n in (1, 2)],
        lists=[GivenList("r1", "ranker", None)],
        live=[(0.0, "b1")],
    )
    async with database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        new = [NewItem(item_id, item_content(title=item_id)) for item_id in ledger.items]
        await items.insert_many(new, relay_after=timedelta(0))
        await items.mark_ready(dict.fromkeys(ledger.items, 1))
        await InteractionRepository(session, CATALOG).add(
            [
                NewInteraction(e.user_id, e.item_id, e.event_type, NOW, event_id=e.event_id)
                for e in ledger.events
            ]
        )
        await RecommendationRepository(session).add(
            [
                GivenRecommendation(
                    catalog_id=CATALOG,
                    recommendation_id="r1",
                    bundle="b1",
                    user_id="u",
                    source="ranker",
                    fallback=None,
                    item_ids=["a"],
                    latency_ms=1.0,
                    served_at=NOW,
                )
            ]
        )
    return ledger


class Api:
    """live: the bundle it serves from. unindexed, unrankable: items it knows nothing of there."""

    def __init__(self) -> None:
        self.live = "b1"
        self.unindexed: set[str] = set()
        self.unrankable: set[str] = set()
        self.events = ["e1", "e2"]

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v1/users/u/events":
            first = "cursor" not in request.url.params
            shown = self.events[:1] if first else self.events[1:]
            page = {
                "events": [{"event_id": event_id} for event_id in shown],
                "next_cursor": "more" if first else None,
            }
            return httpx.Response(200, json=page)
        if path.endswith("/similar"):
            if path.split("/")[3] in self.unindexed:
                return httpx.Response(409, json={})
            return httpx.Response(200, json={"bundle": self.live, "items": [{"item_id": "x"}]})
        if path == "/v1/recommendations":
            ranked = [{"item_id": i} for i in ("a", "b") if i not in self.unrankable]
            return httpx.Response(200, json={"items": ranked})
        codes = {"collaborative": [1], "text": [1], "visual": [1]}
        return httpx.Response(
            200, json={"status": "ready", "bundle": self.live, "semantic_ids": codes}
        )


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def reckon(database, ledger, api, monkeypatch):
    """(kind, name) of all that is lost."""
    monkeypatch.setattr(checking, "READY_WITHIN_S", 0.0)

    async def losses() -> set[tuple[str, str]]:
        transport = httpx.MockTransport(api.answer)
        async with httpx.AsyncClient(base_url="http://gateway", transport=transport) as client:
            found = await checking.losses(ledger, Stored(database, CATALOG), Asker(client, ledger))
        return {(loss.kind, loss.name) for loss in found}

    return losses


async def test_what_was_accepted_and_is_there_is_not_lost(reckon):
    assert await reckon() == set()


async def test_what_is_not_in_postgres_is_lost(reckon, ledger):
    ledger.items.append("c")
    ledger.events.append(AcceptedEvent("e3", "u", "a", "click"))
    ledger.lists.append(GivenList("r2", "ranker", None))

    assert await reckon() == {("items", "c"), ("events", "e3"), ("recommendations", "r2")}


async def test_an_event_that_is_stored_otherwise_than_sent_is_lost(reckon, ledger):
    ledger.events[0] = AcceptedEvent("e1", "u", "a", "purchase")

    assert await reckon() == {("events", "e1")}


async def test_an_event_that_its_user_is_not_shown_is_lost(reckon, api):
    api.events = ["e1"]

    assert await reckon() == {("events", "e2")}


async def test_an_item_that_is_not_ready_in_time_is_lost(reckon, database):
    async with database.transaction() as session:
        items = ItemRepository(session, CATALOG)
        row = await items.get("b", for_update=True)
        await items.change(row, item_content(title="new"), relay_after=timedelta(0))

    assert await reckon() == {("items", "b")}


@pytest.mark.parametrize("where", ["unindexed", "unrankable"])
async def test_an_item_that_cannot_be_found_or_recommended_is_lost(reckon, api, where):
    getattr(api, where).add("b")

    assert await reckon() == {("items", "b")}


async def test_items_that_are_shown_under_another_bundle_than_the_live_one_are_lost(reckon, api):
    api.live = "b0"

    assert await reckon() == {("items", "a"), ("items", "b")}


async def test_what_a_user_who_was_forgotten_did_would_be_lost(reckon, database):
    async with database.transaction() as session:
        await UserRepository(session, CATALOG).forget("u")

    assert await reckon() == {("events", "e1"), ("events", "e2")}
