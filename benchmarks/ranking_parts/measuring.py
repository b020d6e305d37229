"""Measures one way in a process of its own: `python -m benchmarks.ranking_parts.measuring TASK OUT`

Fresh, so that its memory is its own. TASK is a JSON file of a `Task`; an `Outcome` goes to OUT.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.ranking_parts.closed_loop import Bounds, measure
from benchmarks.ranking_parts.floor import Floor, milliseconds_a_request
from benchmarks.ranking_parts.made_up_bundle import GROWTH, popularity
from benchmarks.ranking_parts.memory import family_pss_bytes
from benchmarks.ranking_parts.plan import Outcome, Speed, Task, WorkloadName
from benchmarks.ranking_parts.profiling import profiled
from benchmarks.ranking_parts.ways import FLOOR, Rank, open_way
from benchmarks.ranking_parts.workloads import History, NewUsers, ReturningUsers, Workload
from services.ranking.engines.transformers_engine import serving_device
from shared.artifacts.bundle import Bundle
from shared.errors import UnavailableError
from shared.settings import RankingSettings

PROBES = 4
PROBE_SEED, NEW_SEED, RETURNING_SEED = 1, 2, 3


async def carry_out(task: Task) -> Outcome:
    """Raises what the way raises while it is measured."""
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    bundle = Bundle(task.bundle)
    if task.way == FLOOR:
        return _floor(task, bundle)
    settings = RankingSettings(device=task.device, threads=task.threads, cache=task.cache)
    workloads, probes = await asyncio.to_thread(_who_asks, task)
    try:
        async with open_way(task.way, bundle, settings) as rank:
            if task.profile:
                text = await profiled(rank, workloads["new"], task.concurrency[-1], _bounds(task))
                return Outcome(profile=text)
            return await _measured(task, rank, workloads, probes)
    except UnavailableError as error:
        return Outcome(missing=(str(error),))


async def _measured(
    task: Task,
    rank: Rank,
    workloads: Mapping[WorkloadName, Workload],
    probes: Sequence[History],
) -> Outcome:
    answers = [tuple((await rank(history)).tolist()) for history in probes]
    speeds: list[Speed] = []
    missing: list[str] = []
    for name, workload in workloads.items():
        for concurrency in task.concurrency:
            try:
                found = await measure(rank, workload, concurrency, _bounds(task))
            except TimeoutError as error:
                missing.append(f"{name}, {concurrency} in flight: {error}")
                continue
            speeds.append(Speed(workload=name, **asdict(found)))
    return Outcome(
        speeds=tuple(speeds),
        missing=tuple(missing),
        memory_bytes=family_pss_bytes(),
        probes=tuple(answers),
    )


def _floor(task: Task, bundle: Bundle) -> Outcome:
    floor = Floor(bundle, serving_device(task.device))
    users = NewUsers(popularity(task.items), task.history, seed=NEW_SEED)
    histories = [_history(users) for _ in range(max(task.concurrency))]
    spent_ms = milliseconds_a_request(floor, histories, task.concurrency, task.seconds)
    return Outcome(
        speeds=tuple(
            Speed(
                workload="new",
                concurrency=concurrency,
                requests=0,
                per_s=1000 / spent,
                p50_ms=None,
                p99_ms=None,
            )
            for concurrency, spent in spent_ms.items()
        )
    )


def _who_asks(task: Task) -> tuple[dict[WorkloadName, Workload], list[History]]:
    """The workloads, and histories to compare answers with."""
    shares = popularity(task.items)
    made: dict[WorkloadName, Workload] = {
        "new": NewUsers(shares, task.history, seed=NEW_SEED),
        "returning": ReturningUsers(
            shares, task.history, task.history + GROWTH, seed=RETURNING_SEED
        ),
    }
    strangers = NewUsers(shares, task.history, seed=PROBE_SEED)
    return {name: made[name] for name in task.workloads}, [
        _history(strangers) for _ in range(PROBES)
    ]


def _history(users: Workload) -> History:
    with users.asking() as history:
        return history


def _bounds(task: Task) -> Bounds:
    return Bounds(task.seconds, task.requests, task.longest_s)


def main() -> None:
    task, out = Path(sys.argv[1]), Path(sys.argv[2])
    outcome = asyncio.run(carry_out(Task.model_validate_json(task.read_text())))
    out.write_text(outcome.model_dump_json())


if __name__ == "__main__":
    main()
