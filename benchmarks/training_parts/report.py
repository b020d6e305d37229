"""Markdown of what was measured."""

from collections.abc import Iterator, Sequence

from benchmarks.training_parts.publish import Published
from benchmarks.training_parts.rate import Rate

# What the kernel counts in: a step may take less.
SHORTEST_S = 0.01


def rates_table(rates: Sequence[Rate]) -> Iterator[str]:
    """The first way is ours where the others are its peers."""
    yield "| way | | seconds | a second | ours is | |"
    yield "|---|---|---|---|---|---|"
    for rate in rates:
        is_peer = rate.way.startswith("peer")
        times = f"{rates[0].per_second / rate.per_second:.2f}x as fast" if is_peer else ""
        cells = [
            rate.way,
            f"{rate.count:,} {rate.unit}",
            f"{rate.seconds:.2f}",
            f"{rate.per_second:,.0f}",
            times,
            rate.note,
        ]
        yield f"| {' | '.join(cells)} |"


def publish_table(published: Sequence[Published]) -> Iterator[str]:
    """CPU seconds by step, and how the cost of an item grows from the smallest catalogue on."""
    steps = list(published[0].seconds)
    yield f"| items | {' | '.join(steps)} | CPU s | CPU ms an item | s | index, MB |"
    yield "|---" * (len(steps) + 5) + "|"
    for one in published:
        spent = [f"{one.cpu_seconds[step]:.1f}" for step in steps]
        together = _together(one)
        cells = [
            f"{one.items:,}",
            *spent,
            f"{together:.1f}",
            f"{1000 * together / one.items:.2f}",
            f"{sum(one.seconds.values()):.1f}",
            f"{one.index_mb:.0f}",
        ]
        yield f"| {' | '.join(cells)} |"
    first, last = published[0], published[-1]
    if last.items > first.items:
        grown = last.items / first.items
        ratios = [
            f"{last.cpu_seconds[step] / max(first.cpu_seconds[step], SHORTEST_S) / grown:.2f}"
            for step in steps
        ]
        together = _together(last) / _together(first) / grown
        name = f"an item, {last.items:,} : {first.items:,}"
        yield f"| {name} | {' | '.join(ratios)} | {together:.2f} | | | |"


def _together(published: Published) -> float:
    return sum(published.cpu_seconds.values())
