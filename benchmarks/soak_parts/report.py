"""Markdown of a soak: requests, operations, which bundle was live when, and what went wrong."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks.soak_parts.ledger import Ledger
from benchmarks.soak_parts.soaking import Outcome

KINDS = ("recommendations", "items", "events", "admin", "checks")
QUANTILES = (50, 95, 99)
SHOWN_FAILURES = 20


def report(outcome: Outcome) -> str:
    ledger = outcome.ledger
    sections: list[Iterable[str]] = [
        _requests(outcome),
        [_accepted(ledger)],
        _table(
            ("began, s", "took, s", "operation", "result"),
            [
                (f"{one.began_s:.0f}", f"{one.seconds:.0f}", one.name, one.failure or one.result)
                for one in outcome.operations
            ],
        ),
        _table(("from, s", "live"), [(f"{since:.0f}", bundle) for since, bundle in ledger.live]),
        _failures(outcome.failures),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _requests(outcome: Outcome) -> Iterator[str]:
    lost = Counter(loss.kind for loss in outcome.lost)
    rows = []
    for kind in KINDS:
        requests = [one for one in outcome.ledger.requests if one.kind == kind]
        took = [1000 * one.seconds for one in requests]
        times = np.percentile(took, QUANTILES) if took else [float("nan")] * len(QUANTILES)
        failed = sum(one.failure is not None for one in requests)
        cells = (kind, len(requests), failed, lost[kind], *(f"{ms:,.0f}" for ms in times))
        rows.append([f"{cell:,}" if isinstance(cell, int) else cell for cell in cells])
    names = [f"p{quantile} ms" for quantile in QUANTILES]
    return _table(("requests", "sent", "failed", "lost", *names), rows)


def _accepted(ledger: Ledger) -> str:
    sources = Counter(
        given.source if given.fallback is None else f"{given.source} ({given.fallback})"
        for given in ledger.lists
    )
    lists = ", ".join(f"{number:,} by {source}" for source, number in sources.most_common())
    return (
        f"Accepted: {len(ledger.items):,} items, {len(ledger.events):,} events. "
        f"Given: {len(ledger.lists):,} lists ({lists})."
    )


def _failures(failures: Sequence[str]) -> Iterator[str]:
    if not failures:
        yield "Nothing failed, nothing was lost."
        return
    yield f"{len(failures):,} failures:"
    yield from (f"- {failure}" for failure in failures[:SHOWN_FAILURES])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
