"""Everything at once for two minutes; `python -m benchmarks.soak` does the same for longer."""

import pytest

from benchmarks.soak_parts.plan import Plan, Target
from benchmarks.soak_parts.report import report
from benchmarks.soak_parts.soaking import soak
from infra.local.state import StateFolder
from shared.settings import DatabaseSettings

pytestmark = pytest.mark.e2e

SECONDS = 120
# Loading vLLM takes minutes on a small machine; requests go on coming meanwhile.
OVERTIME_S = 900


async def test_nothing_fails_and_nothing_is_lost_while_bundles_are_trained_and_switched(
    platform, api
):
    running = StateFolder(platform.folder).running()
    database = DatabaseSettings(url=running.environment["MMESID_DATABASE__URL"])
    target = Target(platform.gateway_url, platform.api_key, database)
    plan = Plan(SECONDS, OVERTIME_S, training=platform.training_request)

    outcome = await soak(target, plan, on_step=print)

    print(report(outcome))
    for item_id in outcome.ledger.items:  # the platform's other tests count its items
        await api.delete(f"/v1/items/{item_id}")
    assert outcome.failures == []
    assert len(outcome.operations) == 4
    assert outcome.seconds >= SECONDS
    assert outcome.ledger.items
    assert outcome.ledger.events
    assert outcome.ledger.lists
