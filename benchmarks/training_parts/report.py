"""Markdown of what was measured."""

from collections.abc import Iterator, Sequence

from benchmarks.training_parts.publish import Published
from benchmarks.training_parts.rate import Rate


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
    """Seconds by step, and how the cost of an item grows from the smallest catalogue on."""
    steps = list(published[0].seconds)
    yield f"| items | floats an item | {' | '.join(steps)} | together, s | an item, ms |"
    yield "|---" * (len(steps) + 4) + "|"
    for one in published:
        seconds = " | ".join(f"{one.seconds[step]:.1f}" for step in steps)
        yield (
            f"| {one.items:,} | {one.floats} | {seconds} | {one.total:.1f}"
            f" | {1000 * one.total / one.items:.2f} |"
        )
    first, last = published[0], published[-1]
    if last.items > first.items:
        grown = last.items / first.items
        ratios = [last.seconds[step] / first.seconds[step] / grown for step in steps]
        yield (
            f"| an item, {last.items:,} : {first.items:,} | |"
            f" {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"
            f" {last.total / first.total / grown:.2f} | |"
        )
