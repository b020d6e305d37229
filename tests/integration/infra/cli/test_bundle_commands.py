"""`bundles`, `activate`, `rollback` and `split` against a real gateway."""

import json

import pytest

pytestmark = pytest.mark.integration

OLD, NEW, BAD = "20260101T000000-old", "20260102T000000-new", "20260103T000000-bad"


@pytest.fixture
async def published(stack):
    """A live bundle, a better one, and one that failed a gate."""
    await stack.publish(OLD, ndcg=0.05)
    await stack.go_live(OLD)
    await stack.publish(NEW, ndcg=0.06)
    await stack.publish(BAD, ndcg=0.01, failed_gate="ranking")
    return stack


async def states(stack) -> dict[str, str]:
    bundles = json.loads((await stack.run("bundles", "--json")).stdout)["bundles"]
    return {bundle["version"]: bundle["state"] for bundle in bundles}


async def test_bundles_are_listed_with_their_quality_and_the_gates_that_failed(published):
    rows = [line.split() for line in (await published.run("bundles")).stdout.splitlines()]

    assert rows[0] == ["version", "state", "nDCG@10", "gates", "failed", "went", "live"]
    assert rows[1:3] == [
        [BAD, "published", "0.0100", "ranking", "-"],
        [NEW, "published", "0.0600", "-", "-"],
    ]
    assert rows[3][:4] == [OLD, "live", "0.0500", "-"]
    assert len(rows[3]) == 6


async def test_a_bundle_goes_live_and_back(published):
    there = await published.run("activate", NEW)
    assert there.stdout == f"Bundle {NEW} is live.\n"
    assert (await states(published))[NEW] == "live"

    back = await published.run("rollback", "--json")
    assert json.loads(back.stdout)["version"] == OLD
    assert (await states(published))[OLD] == "live"


async def test_one_that_failed_a_gate_goes_live_only_by_force(published):
    refused = await published.run("activate", BAD)
    assert refused.exit_code == 1
    assert "ranking: too bad" in refused.stderr

    forced = await published.run("activate", BAD, "--force")
    assert forced.exit_code == 0
    assert (await states(published))[BAD] == "live"


async def test_without_a_former_bundle_there_is_no_rollback(published):
    result = await published.run("rollback")

    assert result.exit_code == 1
    assert "no bundle that was live before" in result.stderr


async def test_users_are_split_and_given_back_to_the_live_bundle(published):
    split = await published.run("split", f"{NEW}=12.5%")
    shown = json.loads((await published.run("split", "--json")).stdout)
    ended = await published.run("split", "--end")

    assert [line.split() for line in split.stdout.splitlines()] == [
        ["version", "users"],
        [OLD, "87.5", "%", "live"],
        [NEW, "12.5", "%"],
    ]
    assert shown["shares"] == [{"version": NEW, "percent": 12.5}]
    assert ended.stdout.splitlines()[1:] == [f"{OLD}  100 %  live"]


async def test_metrics_of_a_bundle_are_figures_or_say_that_there_are_none(published):
    result = await published.run("bundles", "metrics", OLD, "--since", "2026-01-01")
    document = json.loads((await published.run("bundles", "metrics", OLD, "--json")).stdout)

    assert "impressions         0" in result.stdout
    assert "click-through rate  -" in result.stdout
    assert document["version"] == OLD
    assert document["click_through_rate"] is None


async def test_metrics_of_a_bundle_that_does_not_exist_are_refused(published):
    result = await published.run("bundles", "metrics", "nothing")

    assert result.exit_code == 1
    assert "nothing" in result.stderr
