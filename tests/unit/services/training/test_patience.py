from types import SimpleNamespace

import pytest

from services.training import patience
from services.training.lease import CancelledRunError
from services.training.patience import patiently
from shared.errors import InvalidInputError, OverloadedError, UnavailableError


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses asked for; none is waited."""
    asked: list[float] = []

    async def no_sleep(seconds: float) -> None:
        asked.append(seconds)

    # Of this module alone: servers of other tests may still be sleeping in their threads.
    monkeypatch.setattr(patience, "asyncio", SimpleNamespace(sleep=no_sleep))
    return asked


def failing(*errors: Exception):
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


def go_on() -> None:
    return None


async def test_a_service_that_comes_back_answers_after_growing_pauses(pauses):
    call = failing(
        UnavailableError("down"), OverloadedError("full", retry_after_s=4), UnavailableError("down")
    )
    assert await patiently(call, check=go_on) == "answer"
    assert pauses == [1.0, 4, 8]


async def test_patience_ends(pauses):
    with pytest.raises(UnavailableError, match="still down"):
        await patiently(failing(*[UnavailableError("still down")] * 9), check=go_on, at_most_s=0.5)
    assert pauses == []


async def test_other_errors_are_not_waited_for(pauses):
    with pytest.raises(InvalidInputError):
        await patiently(failing(InvalidInputError.of("items", "wrong")), check=go_on)
    assert pauses == []


async def test_a_cancelled_run_stops_waiting(pauses):
    def cancelled() -> None:
        if pauses:
            raise CancelledRunError("cancelled")

    with pytest.raises(CancelledRunError):
        await patiently(failing(*[UnavailableError("down")] * 9), check=cancelled)
    assert len(pauses) == 1
