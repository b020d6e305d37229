"""The finished cells as tables: mean ± standard deviation over the seeds."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.cell import Cell
from experiments.markdown import markdown_table, mean_and_deviation
from experiments.significance import compare
from shared.modeling.analysis import FUSED, INPUT, TARGET
from shared.modeling.modality import Modality

METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")
GROUPS = ("head", "tail", "cold")
VIEWS = ("masked", "unmasked")
TAU_STAGES = ("quantized", "fine-tuned")

# A row's cells, one a seed.
Row = Sequence[Cell]


def report(rows: Mapping[str, Row]) -> str:
    """Test metrics with the history masked, then unmasked; groups of targets; what it cost;
    collapse, use of the codes, and forgetting."""
    sections = [f"### Test, history {view}\n\n{_metrics(rows, view)}" for view in VIEWS]
    sections.append(f"### nDCG@10 by the target's group, history masked\n\n{_groups(rows)}")
    sections.append(f"### Validation and cost\n\n{_cost(rows)}")
    if len(rows) > 1:
        sections.append(_significance(rows))
    for title, lines in (
        ("Collapsed share of the dimensions", _collapse(rows)),
        ("Semantic IDs: the levels' use of their codebooks", _codes(rows)),
        ("Kendall's tau: order of E_j's distances kept by the code embeddings", _tau(rows)),
    ):
        if len(lines) > 1:
            sections.append(f"### {title}\n\n{markdown_table(lines[0], lines[1:])}")
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
    heads = [f"{name} ({first[name]['users']} users)" for name in GROUPS]

    def figure(row: Row, group: str) -> str:
        results = [cell.result["test"]["groups"][group] for cell in row]
        return mean_and_deviation(
            [result["masked"]["ndcg@10"] for result in results if result["users"]]
        )

    return markdown_table(
        ["method", *heads],
        [[name, *(figure(row, group) for group in GROUPS)] for name, row in rows.items()],
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


def _collapse(rows: Mapping[str, Row]) -> list[list[str]]:
    """Of the tables that the models read, score with, and sum up from codes; heads come first."""
    spectra = {name: row[0].result["spectra"] for name, row in rows.items()}
    tables = [
        table
        for table in (INPUT, TARGET, FUSED, *(f"codes_{modality.value}" for modality in Modality))
        if any(table in of_row for of_row in spectra.values())
    ]

    def figure(name: str, table: str) -> str:
        results = [cell.result["spectra"] for cell in rows[name]]
        return mean_and_deviation(
            [result[table]["collapsed"] for result in results if table in result]
        )

    heads = ["method", *(table.replace("_", " ") for table in tables)]
    lines = [
        [name, *(figure(name, table) for table in tables)]
        for name, of_row in spectra.items()
        if of_row
    ]
    return [heads, *lines]


def _codes(rows: Mapping[str, Row]) -> list[list[str]]:
    """Means over the seeds, of each level; heads come first."""
    lines = [["method", "modality", "codes", "used", "perplexity", "dead", "items sharing an ID"]]
    for name, row in rows.items():
        for modality in row[0].result["codes"]:
            seeds = [cell.result["codes"][modality] for cell in row]
            lines.append(
                [
                    name,
                    modality,
                    str(seeds[0]["size"]),
                    _levels([seed["usage"] for seed in seeds], ".0%"),
                    _levels([seed["perplexity"] for seed in seeds], ".1f"),
                    _levels([seed["dead_codes"] for seed in seeds], ".1f"),
                    f"{mean(seed['collision_rate'] for seed in seeds):.1%}",
                ]
            )
    return lines


def _levels(seeds: Sequence[Sequence[float]], form: str) -> str:
    return ", ".join(format(mean(level), form) for level in zip(*seeds, strict=True))


def _tau(rows: Mapping[str, Row]) -> list[list[str]]:
    """Heads come first."""
    lines = [["method", "modality", *TAU_STAGES]]
    for name, row in rows.items():
        for modality in row[0].result["tau"]:
            taus = [cell.result["tau"][modality] for cell in row]
            figures = [
                mean_and_deviation([tau[stage] for tau in taus if tau[stage] is not None])
                for stage in TAU_STAGES
            ]
            lines.append([name, modality, *figures])
    return lines
