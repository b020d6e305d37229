"""Requests, each of which is timed and judged. None is ever sent a second time."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import httpx

from benchmarks.soak_parts.ledger import Ledger, Request
from benchmarks.soak_parts.plan import Target

TIMEOUT_S = 60.0
# Servers close connections that are idle for five seconds: a request sent at that moment would fail
# for a reason that is no platform's.
IDLE_S = 2.0
SHOWN_CHARACTERS = 300

# What is wrong with the body of an answer, if anything is.
Objection = Callable[[Any], str | None]


def no_objection(_: Any) -> None:
    return None


class Asker:
    """One client for everything that is asked; `ask` writes into the ledger."""

    def __init__(self, client: httpx.AsyncClient, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        expected: Collection[int] = (200,),
        body: Any = None,
        params: dict[str, Any] | None = None,
        objection: Objection = no_objection,
        timeout_s: float = TIMEOUT_S,
    ) -> Any | None:
        """The body of the answer, or None where the request counts as failed: another status than
        those expected, an objection to the body, or no answer at all."""
        began = self._ledger.now_s()
        answered = failure = None
        try:
            answer = await self._client.request(
                method, path, json=body, params=params, timeout=timeout_s
            )
            if answer.status_code in expected:
                answered = answer.json() if answer.content else {}
                failure = objection(answered)
            else:
                failure = f"{answer.status_code}: {answer.text[:SHOWN_CHARACTERS]}"
        except httpx.HTTPError as error:
            failure = f"no answer: {error!r}"
        except (ValueError, LookupError, TypeError) as error:
            failure = f"the body is not as documented: {error!r}"
        if failure is not None:
            answered, failure = None, f"{method} {path}: {failure}"
        seconds = self._ledger.now_s() - began
        self._ledger.requests.append(Request(kind, began, seconds, failure))
        return answered


@asynccontextmanager
async def asking(target: Target, ledger: Ledger) -> AsyncIterator[Asker]:
    async with httpx.AsyncClient(
        base_url=target.gateway_url,
        headers={"Authorization": f"Bearer {target.api_key}"},
        limits=httpx.Limits(max_connections=64, keepalive_expiry=IDLE_S),
        trust_env=False,
    ) as client:
        yield Asker(client, ledger)
