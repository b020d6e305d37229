"""The finished cells as tables: mean ± standard deviation over the seeds."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.analysis_tables import analysis_sections
from experiments.cell import Cell
from experiments.markdown import markdown_table, mean_and_deviation
from experiments.significance import compare

METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")
GROUPS = ("head", "tail", "cold")
GROUP_METRICS = ("hr@10", "ndcg@10")
VIEWS = ("masked", "unmasked")

# A row's cells, one a seed.
Row = Sequence[Cell]


def report(rows: Mapping[str, Row]) -> str:
    """Test metrics with the history masked, then unmasked; groups of targets; what it cost;
    collapse, use of the codes, and forgetting."""
    sections = [f"### Test, history {view}\n\n{_metrics(rows, view)}" for view in VIEWS]
    sections.append(f"### Test by the target's group, history masked\n\n{_groups(rows)}")
    sections.append(f"### Validation and cost\n\n{_cost(rows)}")
    if len(rows) > 1:
        sections.append(_significance(rows))
    results = {name: [cell.result for cell in row] for name, row in rows.items()}
    sections += analysis_sections(results)
    missing = [
        f"{name} runs without {', '.join(row[0].result['missing'])}: the data has none."
        for name, row in rows.items()
        if row[0].result["missing"]
    ]
    return "\n\n".join([*sections, *missing]) + "\n"


def _metrics(rows: Mapping[str, Row], view: str) -> str:
    lines = [
        [
            name,
            *(mean_and_deviation([cell.result["test"][view][m] for cell in row]) for m in METRICS),
        ]
        for name, row in rows.items()
    ]
    return markdown_table(["method", *METRICS], lines)


def _groups(rows: Mapping[str, Row]) -> str:
    first = next(iter(rows.values()))[0].result["test"]["groups"]
    columns = [(group, metric) for group in GROUPS for metric in GROUP_METRICS]
    heads = [f"{group} ({first[group]['users']} users): {metric}" for group, metric in columns]

    def figure(row: Row, group: str, metric: str) -> str:
        results = [cell.result["test"]["groups"][group] for cell in row]
        return mean_and_deviation([one["masked"][metric] for one in results if one["users"]])

    return markdown_table(
        ["method", *heads],
        [[name, *(figure(row, *column) for column in columns)] for name, row in rows.items()],
    )


def _significance(rows: Mapping[str, Row]) -> str:
    """The row that is best on validation against each other one, on test."""
    best = max(rows, key=lambda name: _validation(rows[name]))
    lines = []
    for name, row in rows.items():
        if name != best:
            lead = compare([cell.ranks for cell in rows[best]], [cell.ranks for cell in row])
            low, high = lead.interval
            figures = [f"{lead.difference:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{lead.p:.2g}"]
            lines.append([name, *figures])
    table = markdown_table(["method", f"lead of {best}", "95 % interval", "p"], lines)
    return (
        f"### Test nDCG@10, history masked: {best} (best on validation) against each other row,"
        f" paired t-test over the users\n\n{table}"
    )


def _validation(row: Row) -> float:
    return float(mean(cell.result["validation"]["masked"]["ndcg@10"] for cell in row))


def _cost(rows: Mapping[str, Row]) -> str:
    def line(name: str, row: Row) -> list[str]:
        results: list[Mapping[str, Any]] = [cell.result for cell in row]
        share = results[0]["trained_share"]
        return [
            name,
            mean_and_deviation([result["validation"]["masked"]["ndcg@10"] for result in results]),
            f"{mean(result['seconds'].get('train', 0.0) for result in results):.0f}",
            f"{mean(result['seconds'].get('quantize', 0.0) for result in results):.0f}",
            "-" if share is None else f"{share:.2%}",
        ]

    return markdown_table(
        [
            "method",
            "validation ndcg@10",
            "training, s",
            "quantizer, s",
            "trained share of the model",
        ],
        [line(name, row) for name, row in rows.items()],
    )
