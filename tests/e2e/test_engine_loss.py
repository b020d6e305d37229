"""What users see while vLLM's process is gone: marked answers of something simpler, no errors."""

import asyncio
import os
import signal
import time

import pytest

pytestmark = pytest.mark.e2e

ASK_EVERY_S = 0.05
BACK_WITHIN_S = 180


@pytest.fixture
async def answers(api, known_items):
    """(when it came, status, body) of a request after the other, asked all along the test."""
    received = []

    async def keep_asking():
        while True:
            answer = await api.post(
                "/v1/recommendations", json={"history": known_items[:5], "k": 5}
            )
            received.append((time.monotonic(), answer.status_code, answer.json()))
            await asyncio.sleep(ASK_EVERY_S)

    asking = asyncio.create_task(keep_asking())
    yield received
    asking.cancel()
    await asyncio.wait([asking])


async def the_first(answers, wanted, *, since, within_s):
    """When the first answer after `since` came that is as wanted, and the answer."""
    deadline = since + within_s
    while time.monotonic() < deadline:
        for came, status, body in list(answers):
            if came > since and status == 200 and wanted(body):
                return came, body
        await asyncio.sleep(0.02)
    raise AssertionError(f"no such answer; the last one: {answers[-1:]}")


def is_ranked(body):
    return body["source"] == "ranker" and body["fallback"] is None


def is_marked(body):
    return body["fallback"] == "engine_unavailable"


async def test_a_killed_engine_is_replaced_and_no_request_fails_meanwhile(platform, answers):
    if platform.engine != "vllm":
        pytest.skip("only vLLM has a process of its own")
    await the_first(answers, is_ranked, since=time.monotonic(), within_s=60)
    victims = platform.engine_processes()
    assert victims

    killed = time.monotonic()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    came, marked = await the_first(answers, is_marked, since=killed, within_s=10)
    _, ranked = await the_first(answers, is_ranked, since=came, within_s=BACK_WITHIN_S)

    assert came - killed < 1
    assert marked["source"] in ("sasrec", "popularity")
    assert ranked["engine"] == "vllm"
    assert set(platform.engine_processes()).isdisjoint(victims)
    assert [body for _, status, body in answers if status != 200] == []
    assert {len(body["items"]) for _, _, body in answers} == {5}
