"""The figures of a replay as Markdown and as a figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.markdown import markdown_table
from experiments.online_loop.measuring import ALL, NEW, Document
from shared.plots import lines_figure

NDCG = "ndcg@10"
LABELS = {
    "frozen": "never retrained",
    "warm": "retrained, warm",
    "full": "retrained from nothing",
}


def loop_figure(document: Document) -> Figure:
    """nDCG@10 of the next slice against the events replayed before it, a line a curve."""
    slices = document["slices"]
    return lines_figure(
        [one["replayed_before"] for one in slices],
        {
            LABELS[curve]: [one["curves"][curve][ALL][NDCG] for one in slices]
            for curve in slices[0]["curves"]
        },
        "events replayed",
        "nDCG@10 of the next slice",
    )


def loop_report(document: Document) -> str:
    """Three tables: slice by slice, all slices after the first together, and the trainings."""
    parts = [_slices(document["slices"])]
    if "retrained" in document:
        parts += [_together(document), _trainings(document["slices"])]
    return "\n\n".join(parts) + "\n"


def _slices(slices: Sequence[Document]) -> str:
    curves = list(slices[0]["curves"])
    lines = [
        [
            f"{one['replayed_before']:,}",
            f"{one['from']} to {one['until']}",
            f"{one['targets'][ALL]:,}",
            f"{one['users']:,}",
            f"{one['targets'][NEW] / one['targets'][ALL]:.1%}",
            *(f"{one['curves'][curve][ALL][NDCG]:.4f}" for curve in curves),
        ]
        for one in slices
    ]
    heads = ["replayed before", "slice", "targets", "users", "new items"]
    return "nDCG@10 by slice:\n\n" + markdown_table(heads + [LABELS[c] for c in curves], lines)


def _together(document: Document) -> str:
    """By group of targets; `gain` says how sure the differences are."""
    retrained = document["retrained"]
    lines = [
        [
            group,
            f"{number:,}",
            *(_or_dash(own.get(group), NDCG) for own in retrained["curves"].values()),
        ]
        for group, number in retrained["targets"].items()
    ]
    heads = ["items", "targets", *(LABELS[curve] for curve in retrained["curves"])]
    gains = "\n".join(
        f"- {LABELS[curve]}: {own['difference']:+.4f} over never"
        f" ({own['interval'][0]:+.4f} to {own['interval'][1]:+.4f})"
        for curve, own in document["gain"].items()
    )
    return f"nDCG@10 after the first retraining:\n\n{markdown_table(heads, lines)}\n\n{gains}"


def _trainings(slices: Sequence[Document]) -> str:
    """Of the warm ones what they kept, and the seconds of both."""
    last = slices[-1]["trainings"]
    kept = [(what, j) for what in ("cosine_kept", "sids_kept") for j in last["warm"].get(what, {})]
    cold = "full" if "full" in last else None
    lines = [
        [
            f"{one['replayed_before']:,}",
            f"{one['trainings']['warm']['seconds']:.0f}",
            *([] if cold is None else [f"{one['trainings'][cold]['seconds']:.0f}"]),
            *(_or_dash(one["trainings"]["warm"].get(what), j) for what, j in kept),
        ]
        for one in slices
    ]
    heads = ["replayed before", "warm, s", *([] if cold is None else ["from nothing, s"])]
    return "Trainings:\n\n" + markdown_table([*heads, *_named(kept)], lines)


def _named(kept: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{what}, {j}".replace("_", " ") for what, j in kept]


def _or_dash(figures: Mapping[str, Any] | None, name: str) -> str:
    return "-" if figures is None else f"{figures[name]:.4f}"
