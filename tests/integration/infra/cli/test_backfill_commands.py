"""`backfills` against a real gateway."""

import asyncio
import json
from datetime import timedelta
from uuid import UUID

import pytest

from shared.database.embedding_backfills import EmbeddingBackfillRepository

pytestmark = pytest.mark.integration

CATALOG = "default"
UNKNOWN = "0b54c1a7-94b6-4e3f-8f0c-3f1d9f6c2a11"


@pytest.fixture
async def shop(stack):
    """A stack with three items, which are one chunk."""
    await stack.add_items("a", "b", "c")
    return stack


async def shown(stack, *command: object) -> dict:
    result = await stack.run("backfills", *command, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


async def running_backfill(stack) -> UUID:
    """Wait for one to be started."""
    while True:
        async with stack.database.transaction() as session:
            rows = await EmbeddingBackfillRepository(session).newest(CATALOG, limit=1)
        for row in rows:
            if row.state == "running":
                return row.backfill_id
        await asyncio.sleep(0.02)


async def embed_all(stack, backfill_id: UUID) -> None:
    """As a worker would: two items lacked a vector, one is broken."""
    async with stack.database.transaction() as session:
        backfills = EmbeddingBackfillRepository(session)
        chunk = await backfills.claim(backfill_id, lease=timedelta(minutes=1))
        await backfills.count_embedded(chunk, 2)
        await backfills.finish(chunk, failed=1)


async def test_a_backfill_is_followed_to_its_end(shop):
    following = asyncio.create_task(shop.run("backfills", "start"))
    backfill_id = await running_backfill(shop)
    await embed_all(shop, backfill_id)

    result = await following

    assert result.exit_code == 0
    assert f"Embedding backfill {backfill_id}" in result.stdout
    assert "100%  3 of 3" in result.stdout
    columns = result.stdout.splitlines()[-1].split()
    assert columns[:6] == [str(backfill_id), "succeeded", "3", "100%", "2", "1"]


async def test_one_that_is_cancelled_meanwhile_ends_the_following_with_1(shop):
    following = asyncio.create_task(shop.run("backfills", "start", "--json"))
    backfill_id = await running_backfill(shop)
    assert (await shown(shop, "cancel", backfill_id))["state"] == "cancelled"

    result = await following

    assert result.exit_code == 1
    assert json.loads(result.stdout)["state"] == "cancelled"
    assert f"{backfill_id} was cancelled" in result.stderr


async def test_one_that_runs_is_shown_or_followed_later(shop):
    started = await shown(shop, "start", "--no-follow")
    table = (await shop.run("backfills", "show", started["backfill_id"])).stdout
    following = asyncio.create_task(shop.run("backfills", "show", started["backfill_id"], "-f"))
    await embed_all(shop, UUID(started["backfill_id"]))

    result = await following

    assert started["state"] == "running"
    assert table.splitlines()[-1].split()[1:4] == ["running", "3", "0%"]
    assert result.exit_code == 0
    assert "succeeded" in result.stdout


async def test_backfills_are_listed_newest_first(shop):
    former = (await shown(shop, "start", "--no-follow"))["backfill_id"]
    cancelled = await shop.run("backfills", "cancel", former)
    newer = (await shown(shop, "start", "--no-follow"))["backfill_id"]

    listed = (await shop.run("backfills")).stdout

    assert cancelled.exit_code == 0
    assert [line.split()[:2] for line in listed.splitlines()] == [
        ["backfill", "state"],
        [newer, "running"],
        [former, "cancelled"],
    ]
    only = (await shown(shop, "--limit", 1))["backfills"]
    assert [backfill["backfill_id"] for backfill in only] == [newer]


async def test_a_second_one_is_refused_and_the_first_one_named(shop):
    first = (await shown(shop, "start", "--no-follow"))["backfill_id"]

    result = await shop.run("backfills", "start")

    assert result.exit_code == 1
    assert first in result.stderr


async def test_a_backfill_that_is_not_there_is_said(shop):
    result = await shop.run("backfills", "show", UNKNOWN)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"There is no embedding backfill {UNKNOWN}" in result.stderr
