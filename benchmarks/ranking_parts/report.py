"""Markdown of what was measured: a table a workload, and the targets beside what they ask for."""

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.ranking_parts.plan import Measurement, Speed, WorkloadName
from benchmarks.ranking_parts.ways import DESCRIPTIONS, FLOOR, OURS

PEERS = ("a", "b", "c")
WORKLOADS: dict[WorkloadName, str] = {
    "new": "every request a new user",
    "returning": "32 users who come back with one item more",
}
FLOOR_AT = 8
ONE_AT_A_TIME = "a"
"""Its rate is the same however many wait."""

NOTHING = "-"


class Results:
    """The measurements over one bundle."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.all = measurements
        self._speeds = {
            (one.way, speed.workload, speed.concurrency): speed
            for one in measurements
            for speed in one.outcome.speeds
        }

    def speed(self, way: str, workload: WorkloadName, concurrency: int) -> Speed | None:
        return self._speeds.get((way, workload, concurrency))

    def times(self, way: str, peer: str, workload: WorkloadName, concurrency: int) -> float | None:
        """How many times the peer's requests a second."""
        own, other = (self.speed(name, workload, concurrency) for name in (way, peer))
        if peer == ONE_AT_A_TIME and other is None:
            other = self.speed(peer, workload, 1)
        return None if own is None or other is None else own.per_s / other.per_s

    def above_floor(self, way: str) -> float | None:
        """The share by which a request takes longer than the floor, at `FLOOR_AT` in flight."""
        times = self.times(FLOOR, way, "new", FLOOR_AT)
        return None if times is None else times - 1

    def agreement(self, way: str) -> float | None:
        """The share of (b)'s best rows that this way found too."""
        probes = {one.way: one.outcome.probes for one in self.all}
        if not probes.get(way) or not probes.get("b"):
            return None
        pairs = list(zip(probes[way], probes["b"], strict=True))
        shares = [len(set(own) & set(other)) / len(other) for own, other in pairs]
        return sum(shares) / len(shares)


def results_section(measurements: Sequence[Measurement]) -> str:
    """All tables of one bundle."""
    results = Results(measurements)
    first = measurements[0]
    lines = [f"## {first.shape}, {first.items:,} items", ""]
    present = {speed.workload for one in measurements for speed in one.outcome.speeds}
    for workload, words in WORKLOADS.items():
        if workload in present:
            lines += [f"### {words}", "", *_speed_table(results, workload), ""]
    lines += [*_memory_table(results), ""]
    lines += [*_target_table(results), ""]
    lines += [f"- {DESCRIPTIONS[way]}: {words}" for way, words in _missing(measurements)]
    return "\n".join(lines)


def _speed_table(results: Results, workload: WorkloadName) -> Iterator[str]:
    yield "| | in flight | requests/s | p50 ms | p99 ms | requests | of (a) | of (b) | of (c) |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in results.all:
        for speed in one.outcome.speeds:
            if speed.workload != workload:
                continue
            ratios = [
                _times(results.times(one.way, peer, workload, speed.concurrency)) for peer in PEERS
            ]
            cells = [
                DESCRIPTIONS[one.way],
                str(speed.concurrency),
                f"{speed.per_s:.2f}" if speed.per_s < 10 else f"{speed.per_s:.1f}",
                _number(speed.p50_ms),
                _number(speed.p99_ms),
                str(speed.requests) if one.way != FLOOR else NOTHING,
                *ratios,
            ]
            yield _row(cells)


def _memory_table(results: Results) -> Iterator[str]:
    yield f"| | above the floor at {FLOOR_AT} in flight | memory, GB | answers as (b) |"
    yield "|---|---|---|---|"
    for one in results.all:
        if one.way == FLOOR or not one.outcome.speeds:
            continue
        agreement = None if one.way == "c" else results.agreement(one.way)
        yield _row(
            [
                DESCRIPTIONS[one.way],
                _percent(results.above_floor(one.way)),
                _gigabytes(one.outcome.memory_bytes),
                _percent(agreement),
            ]
        )


def _target_table(results: Results) -> Iterator[str]:
    yield "| target | asked | engine | measured | met |"
    yield "|---|---|---|---|---|"
    for target, asked, way, measured, met in _targets(results):
        yield _row([target, asked, way, measured, "yes" if met else "no"])


def _targets(results: Results) -> Iterator[tuple[str, str, str, str, bool]]:
    """Of each engine of ours that was measured: what, wanted, engine, measured, met."""
    shape, items = results.all[0].shape, results.all[0].items
    # One at a time needs no target beyond 12,086 items: it is hopeless there.
    wanted = {"a": 20.0} if items <= 12_086 else {}
    wanted |= {"c": 5.0}
    if shape in BATCHED_TARGET:
        wanted["b"] = BATCHED_TARGET[shape]
    for way in OURS:
        for peer, least in sorted(wanted.items()):
            times = results.times(way, peer, "new", 32)
            if times is not None:
                yield (f"of ({peer}) at 32", f">= {least:g}x", way, _times(times), times >= least)
        above = results.above_floor(way)
        if above is not None:
            yield (
                f"above the floor at {FLOOR_AT}", "<= 30 %", way, _percent(above), above <= 0.3,
            )  # fmt: skip
    for one in results.all:
        if one.way in OURS and one.outcome.memory_bytes is not None:
            yield (
                "memory, GB",
                f"<= {_gigabytes(one.target_bytes)}",
                one.way,
                _gigabytes(one.outcome.memory_bytes),
                one.outcome.memory_bytes <= one.target_bytes,
            )


BATCHED_TARGET = {"smollm2": 2.0, "small": 1.0}


def _missing(measurements: Sequence[Measurement]) -> Iterator[tuple[str, str]]:
    for one in measurements:
        for words in one.outcome.missing:
            yield one.way, words


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _times(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f} %"


def _gigabytes(size: int | None) -> str:
    return NOTHING if size is None else f"{size / 1e9:.2f}"
