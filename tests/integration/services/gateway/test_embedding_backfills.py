from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from shared.database.api_keys import Scope
from shared.database.embedding_backfills import EmbeddingBackfillRepository
from shared.database.items import ItemRepository, NewItem
from shared.ingestion.item_content import item_content

pytestmark = pytest.mark.integration

PATH = "/v1/admin/embedding-backfills"


@pytest.fixture
async def gateway(start_gateway):
    """One with seven items, of which a worker takes three at a time."""
    gateway = await start_gateway(training={"backfill_chunk": 3})
    async with gateway.database.transaction() as session:
        await ItemRepository(session, "shop").insert_many(
            [NewItem(f"item-{n}", item_content(title=f"Item {n}")) for n in range(7)],
            relay_after=timedelta(0),
        )
    return gateway


async def finish_a_chunk(gateway, backfill_id: str) -> None:
    """As a worker would."""
    async with gateway.database.transaction() as session:
        owned = await EmbeddingBackfillRepository(session).claim(
            UUID(backfill_id), lease=timedelta(minutes=1)
        )
    async with gateway.database.transaction() as session:
        backfills = EmbeddingBackfillRepository(session)
        await backfills.count_embedded(owned, 2)
        await backfills.finish(owned, failed=1)


async def test_a_backfill_is_started_watched_and_ends_with_its_last_chunk(gateway, stand_ins):
    answer = await gateway.client.post(PATH)

    assert answer.status_code == 202
    backfill = answer.json()
    where = answer.headers["location"]
    assert where == f"{PATH}/{backfill['backfill_id']}"
    assert backfill["created_at"]
    assert backfill == {
        "backfill_id": backfill["backfill_id"],
        "state": "running",
        "revisions": {"text": stand_ins.embedding.text_revision, "visual": "image-encoder@1"},
        "items": 7,
        "done": 0,
        "embedded": 0,
        "failed": 0,
        "chunks": {"waiting": 3, "running": 0, "done": 0},
        "items_per_second": None,
        "eta_s": None,
        "created_at": backfill["created_at"],
        "finished_at": None,
    }

    await finish_a_chunk(gateway, backfill["backfill_id"])
    begun = (await gateway.client.get(where)).json()
    assert (begun["done"], begun["embedded"], begun["failed"]) == (3, 2, 1)
    assert begun["chunks"] == {"waiting": 2, "running": 0, "done": 1}
    assert begun["eta_s"] == pytest.approx(4 / begun["items_per_second"])

    for _ in range(2):
        await finish_a_chunk(gateway, backfill["backfill_id"])
    over = (await gateway.client.get(where)).json()
    assert (over["state"], over["done"], over["eta_s"]) == ("succeeded", 7, None)
    assert over["finished_at"] > over["created_at"]


async def test_a_second_backfill_is_refused_by_the_name_of_the_first(gateway, is_problem):
    first = (await gateway.client.post(PATH)).json()["backfill_id"]
    answer = await gateway.client.post(PATH)
    is_problem(answer, 409)
    assert first in answer.json()["detail"]


async def test_a_cancelled_backfill_makes_room_for_another(gateway, is_problem):
    first = (await gateway.client.post(PATH)).json()["backfill_id"]

    answer = await gateway.client.post(f"{PATH}/{first}/cancel")

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["chunks"]["waiting"]) == ("cancelled", 3)
    is_problem(await gateway.client.post(f"{PATH}/{first}/cancel"), 409)
    second = (await gateway.client.post(PATH)).json()["backfill_id"]
    listed = (await gateway.client.get(PATH)).json()["backfills"]
    assert [backfill["backfill_id"] for backfill in listed] == [second, first]
    newest = (await gateway.client.get(PATH, params={"limit": 1})).json()["backfills"]
    assert [backfill["backfill_id"] for backfill in newest] == [second]


async def test_a_backfill_of_an_empty_catalogue_is_over_at_once(gateway):
    other = await gateway.client_for("other", Scope.ADMIN)
    backfill = (await other.post(PATH)).json()
    assert (backfill["state"], backfill["items"]) == ("succeeded", 0)


async def test_without_the_embedding_service_no_backfill_is_started(gateway, stand_ins, is_problem):
    stand_ins.embedding.is_down = True
    is_problem(await gateway.client.post(PATH), 503)
    assert (await gateway.client.get(PATH)).json() == {"backfills": []}


async def test_a_backfill_belongs_to_its_catalogue_and_its_admins(gateway, is_problem):
    where = f"{PATH}/{(await gateway.client.post(PATH)).json()['backfill_id']}"
    other = await gateway.client_for("other", Scope.ADMIN)
    is_problem(await other.get(where), 404)
    is_problem(await other.post(f"{where}/cancel"), 404)
    is_problem(await gateway.client.get(f"{PATH}/{uuid4()}"), 404)
    writer = await gateway.client_for("shop", Scope.WRITE)
    is_problem(await writer.post(PATH), 403)
