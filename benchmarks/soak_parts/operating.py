"""What an operator does meanwhile: two retrainings, an activation, a rollback."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.soak_parts.asking import Asker
from benchmarks.soak_parts.ledger import Ledger
from benchmarks.soak_parts.plan import Plan

LOOK_EVERY_S = 1.0
SWITCH_TIMEOUT_S = 900.0
BUNDLES = "/v1/admin/bundles"
# When each operation begins, as a share of the whole time, if the one before it is over.
SECOND_TRAINING_AT, ACTIVATION_AT, ROLLBACK_AT = 0.35, 0.7, 0.85


@dataclass(frozen=True)
class Operation:
    """result: what came of it. failure: why it is not what was asked for."""

    name: str
    began_s: float
    seconds: float
    result: str
    failure: str | None = None


class OperationFailedError(Exception):
    """An operation ended otherwise than asked for."""


class Operator:
    """`done` says what was done so far."""

    def __init__(
        self, asker: Asker, ledger: Ledger, plan: Plan, on_step: Callable[[str], None]
    ) -> None:
        self._asker = asker
        self._ledger = ledger
        self._plan = plan
        self._on_step = on_step
        self.done: list[Operation] = []

    async def operate(self) -> None:
        """All four in their order; the first that fails is the last."""
        try:
            await self._do("retraining, goes live", self._train(start="warm", go_live=True))
            await self._at(SECOND_TRAINING_AT)
            bundle = await self._do(
                "retraining from nothing, kept back", self._train(start="cold", go_live=False)
            )
            await self._at(ACTIVATION_AT)
            before = self._ledger.live[-1][1]
            await self._do("activation", self._switch(f"{BUNDLES}/{bundle}/activate", bundle))
            await self._at(ROLLBACK_AT)
            await self._do("rollback", self._switch(f"{BUNDLES}/rollback", before))
        except OperationFailedError:
            return

    async def watch(self) -> None:
        """Which bundle is live, until cancelled."""
        while True:
            answer = await self._asker.ask("admin", "GET", BUNDLES)
            for bundle in answer["bundles"] if answer else ():
                if bundle["state"] == "live":
                    self._ledger.saw_live(bundle["version"])
            await asyncio.sleep(LOOK_EVERY_S)

    async def _do(self, name: str, work: Awaitable[tuple[str, str]]) -> str:
        """The bundle that it is about. `work` gives it, and in words what came of it."""
        began = self._ledger.now_s()
        self._on_step(f"{began:.0f} s: {name} begins")
        failure: str | None = "is not over in time"
        bundle = result = ""
        try:
            bundle, result = await work
            failure = None
        except OperationFailedError as error:
            failure = str(error)
            raise
        finally:
            seconds = self._ledger.now_s() - began
            self.done.append(Operation(name, began, seconds, result or "failed", failure))
            self._on_step(f"{began + seconds:.0f} s: {name}: {failure or result}")
        return bundle

    async def _at(self, share: float) -> None:
        await asyncio.sleep(max(0.0, share * self._plan.seconds - self._ledger.now_s()))

    async def _train(self, *, start: str, go_live: bool) -> tuple[str, str]:
        """The bundle that a training made. One that fails a gate is made all the same and not live:
        the gates are right to keep back what so short a training made worse."""
        run = await self._asker.ask(
            "admin", "POST", "/v1/admin/trainings", expected=(202,),
            body={**self._plan.training, "start": start, "go_live": go_live},
        )  # fmt: skip
        while run is not None and run["state"] in ("queued", "running"):
            await asyncio.sleep(LOOK_EVERY_S)
            run = await self._asker.ask("admin", "GET", f"/v1/admin/trainings/{run['run_id']}")
        if run is None:
            raise OperationFailedError("the API did not answer as documented")
        if run["bundle"] is None:
            raise OperationFailedError(f"the run is {run['state']}: {run['problem']}")
        made = await self._bundle(run["bundle"])
        failed = ", ".join(gate["name"] for gate in made["gates"] if not gate["passed"])
        gates = f"failed gates: {failed}" if failed else "passed its gates"
        return made["version"], f"{made['version']} is {made['state']}, {gates}"

    async def _bundle(self, version: str) -> dict[str, Any]:
        answer = await self._asker.ask("admin", "GET", BUNDLES)
        for bundle in answer["bundles"] if answer else ():
            if bundle["version"] == version:
                return dict(bundle)
        raise OperationFailedError(f"bundle {version} is not listed")

    async def _switch(self, path: str, bundle: str) -> tuple[str, str]:
        """The bundle that is live afterwards: the next list comes from it."""
        body = {"force": True} if path.endswith("/activate") else None
        answer = await self._asker.ask("admin", "POST", path, body=body, timeout_s=SWITCH_TIMEOUT_S)
        if answer is None:
            raise OperationFailedError("the API did not answer as documented")
        if (answer["version"], answer["state"]) != (bundle, "live"):
            raise OperationFailedError(f"{answer['version']} is {answer['state']}, not {bundle}")
        self._ledger.saw_live(bundle)
        asked = {"history": [], "k": 1}
        first = await self._asker.ask("admin", "POST", "/v1/recommendations", body=asked)
        if first is None or first["bundle"] != bundle:
            raise OperationFailedError(f"the next list was {first}, not of {bundle}")
        return bundle, f"{bundle} is live, and gave the next list"
