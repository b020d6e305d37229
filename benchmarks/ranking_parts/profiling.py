"""Where the time of a request goes in the transformers engine.

The engine computes in the process's computing thread, which is under cProfile here; what a request
spends beside that is queue and front, told by the engine's own metrics.
"""

import cProfile
import pstats
from pathlib import Path

from prometheus_client import REGISTRY

from benchmarks.ranking_parts.closed_loop import Bounds, measure
from benchmarks.ranking_parts.ways import Rank
from benchmarks.ranking_parts.workloads import Workload
from shared.computing import compute

ROOT = Path(__file__).parents[2]
FUNCTIONS = OPERATIONS = 12


async def profiled(rank: Rank, workload: Workload, concurrency: int, bounds: Bounds) -> str:
    """Markdown: the steps of a request, then the functions and operations of its computation."""
    profile = cProfile.Profile()
    await compute(profile.enable)
    before = _counters()
    found = await measure(rank, workload, concurrency, bounds)
    after = _counters()
    await compute(profile.disable)
    requests, queued_s, computed_s = (after[name] - before[name] for name in _COUNTERS)
    # Little's law: so many in flight, so many a second.
    whole_ms = 1000 * concurrency / found.per_s
    queue_ms, compute_ms = 1000 * queued_s / requests, 1000 * computed_s / requests
    lines = [
        f"{concurrency} in flight, {found.requests} requests at {found.per_s:.1f} a second, with"
        " the profiler's own cost.",
        "",
        "| a request spends | ms |",
        "|---|---|",
        f"| in all | {whole_ms:.2f} |",
        f"| in the queue | {queue_ms:.2f} |",
        f"| in the computation of its batch | {compute_ms:.2f} |",
        f"| in front: event loop, results | {whole_ms - queue_ms - compute_ms:.2f} |",
        "",
        *_tables(pstats.Stats(profile), requests),
    ]
    return "\n".join(lines)


_COUNTERS = (
    "mmesid_ranking_queue_seconds_count",
    "mmesid_ranking_queue_seconds_sum",
    "mmesid_ranking_compute_seconds_sum",
)


def _counters() -> dict[str, float]:
    return {name: REGISTRY.get_sample_value(name) or 0.0 for name in _COUNTERS}


def _tables(stats: pstats.Stats, requests: float) -> list[str]:
    """Times as shares of a request: what a batch took, over its requests."""
    rows = list(stats.stats.items())  # type: ignore[attr-defined]
    ours = [
        (cumulative, own, f"{Path(file).relative_to(ROOT)}: {name}")
        for (file, _, name), (_, _, own, cumulative, _) in rows
        if Path(file).is_relative_to(ROOT) and ROOT / ".venv" not in Path(file).parents
    ]
    rest = [(own, calls, name) for (file, _, name), (_, calls, own, _, _) in rows if file == "~"]
    return [
        "`hidden_states` is the prefill; what `best` spends in itself is the product with E*.",
        "",
        "| our function | ms a request | of it in itself |",
        "|---|---|---|",
        *(
            f"| {name} | {1000 * cumulative / requests:.3f} | {1000 * own / requests:.3f} |"
            for cumulative, own, name in sorted(ours, reverse=True)[:FUNCTIONS]
        ),
        "",
        "| operation | ms a request | calls a request |",
        "|---|---|---|",
        *(
            f"| {name} | {1000 * own / requests:.3f} | {calls / requests:.1f} |"
            for own, calls, name in sorted(rest, reverse=True)[:OPERATIONS]
        ),
    ]
