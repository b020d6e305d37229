from datetime import UTC, datetime

import pytest

from shared.database.api_keys import Scope

pytestmark = pytest.mark.integration

PATH = "/v1/admin/training-schedule"


async def test_a_schedule_is_set_read_changed_and_removed(client, is_problem):
    is_problem(await client.get(PATH), 404)
    body = {"cron": "0 3 * * *", "new_interactions": 100, "request": {"seed": 3}}

    put = await client.put(PATH, json=body)

    assert put.status_code == 200
    schedule = put.json()
    assert (schedule["cron"], schedule["new_interactions"]) == ("0 3 * * *", 100)
    assert schedule["request"]["seed"] == 3
    next_run_at = datetime.fromisoformat(schedule["next_run_at"])
    assert next_run_at > datetime.now(UTC)
    assert (next_run_at.hour, next_run_at.minute) == (3, 0)
    assert (await client.get(PATH)).json() == schedule

    changed = (await client.put(PATH, json={"new_interactions": 5})).json()
    assert (changed["cron"], changed["next_run_at"]) == (None, None)
    assert changed["updated_at"] > schedule["updated_at"]

    assert (await client.delete(PATH)).status_code == 204
    is_problem(await client.delete(PATH), 404)
    is_problem(await client.get(PATH), 404)


@pytest.mark.parametrize(
    ("body", "field", "cause"),
    [
        ({}, "cron", "new_interactions"),
        ({"cron": "0 3 * *"}, "cron", "five fields"),
        ({"cron": "61 * * * *"}, "cron", "cannot be read"),
        ({"cron": "0 0 31 2 *"}, "cron", "never"),
        ({"cron": "\x00 * * * *"}, "cron", "NUL"),
        ({"new_interactions": 0}, "new_interactions", "greater than"),
        ({"cron": "0 3 * * *", "request": {"ranker": {"epochs": 0}}}, "request.ranker.epochs", ""),
        ({"cron": "0 3 * * *", "request": {"epochs": 1}}, "request.epochs", ""),
        ({"cron": "0 3 * * *", "every": "day"}, "every", ""),
    ],
)
async def test_a_schedule_that_would_never_train_is_refused(client, is_problem, body, field, cause):
    is_problem(await client.put(PATH, json=body), 422, field, cause)
    is_problem(await client.get(PATH), 404)


async def test_a_schedule_belongs_to_its_catalogue_and_its_admins(gateway, is_problem):
    await gateway.client.put(PATH, json={"cron": "0 3 * * *"})
    other = await gateway.client_for("other", Scope.ADMIN)
    is_problem(await other.get(PATH), 404)
    is_problem(await other.delete(PATH), 404)
    writer = await gateway.client_for("shop", Scope.WRITE)
    is_problem(await writer.put(PATH, json={"cron": "0 3 * * *"}), 403)
