"""`events import` against a real gateway."""

import gzip
import json

import pytest
from sqlalchemy import text

from infra.cli import event_file

pytestmark = pytest.mark.integration


@pytest.fixture
async def stocked(stack):
    await stack.add_items("a", "b")
    return stack


def ndjson(*events: dict) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def event(number: int, item_id: str = "a") -> dict:
    return {"user_id": "u", "item_id": item_id, "event_id": f"e{number}"}


async def count(stack, table: str) -> int:
    async with stack.database.transaction() as session:
        return (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


async def test_events_are_stored_once_however_often_the_file_is_imported(stocked, tmp_path):
    path = tmp_path / "events.ndjson.gz"
    path.write_bytes(gzip.compress(ndjson(event(1), event(2, "b"))))

    first = await stocked.run("events", "import", path)
    second = await stocked.run("events", "import", path)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.splitlines()[-1] == "2 stored, 0 duplicates, 0 refused."
    assert second.stdout.splitlines()[-1] == "0 stored, 2 duplicates, 0 refused."
    assert await count(stocked, "interactions") == 2


async def test_lines_that_are_wrong_are_named_and_keep_no_other_from_being_stored(
    stocked, tmp_path, monkeypatch
):
    monkeypatch.setattr(event_file, "PIECE_BYTES", 1)  # every line is a request of its own
    path = tmp_path / "events.ndjson"
    path.write_bytes(ndjson(event(1), event(2, "nothing")) + b"{\n\n" + ndjson(event(5)))

    result = await stocked.run("events", "import", path)

    assert result.exit_code == 1
    assert "  line 2: item_id: " in result.stdout
    assert "  line 3: " in result.stdout
    assert result.stdout.splitlines()[-1] == "2 stored, 0 duplicates, 2 refused."
    assert await count(stocked, "interactions") == 2


async def test_of_many_refused_lines_the_first_twenty_are_shown(stocked, tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_bytes(ndjson(*(event(number, "nothing") for number in range(23))))

    result = await stocked.run("events", "import", path)

    assert "  line 20: " in result.stdout
    assert "  line 21: " not in result.stdout
    assert "... and 3 more lines refused" in result.stdout


async def test_as_json_it_prints_the_row_of_each_line_and_nothing_else(stocked):
    given = ndjson(event(1), event(1), event(3, "nothing"))

    result = await stocked.run("events", "import", "-", "--json", standard_input=given)

    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [(row["line"], row["status"]) for row in rows] == [(1, 201), (2, 200), (3, 422)]


async def test_a_file_that_is_not_there_is_named(stocked, tmp_path):
    result = await stocked.run("events", "import", tmp_path / "nowhere")

    assert result.exit_code == 1
    assert "nowhere: No such file" in result.stderr


async def test_a_command_leaves_no_key_behind(stocked):
    await stocked.run("events", "import", "-", standard_input=ndjson(event(1)))

    assert await count(stocked, "api_keys") == 0
