"""The analyses of the finished cells as tables: collapse, use of the codes, forgetting."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.markdown import markdown_table, mean_and_deviation
from shared.modeling.analysis import FUSED, INPUT, TARGET
from shared.modeling.modality import Modality

TABLES = (INPUT, TARGET, FUSED, *(f"codes_{modality.value}" for modality in Modality))
TAU_STAGES = ("quantized", "fine-tuned")

# What the cells of a row hold as JSON, one a seed.
Results = Sequence[Mapping[str, Any]]


def analysis_sections(rows: Mapping[str, Results]) -> list[str]:
    """Of each analysis that a row has: what it is, and a table of mean ± deviation."""
    tables = {
        "Collapsed share of the dimensions (Sec. 5.3)": _collapse(rows),
        "Semantic IDs: how the levels use their codes": _codes(rows),
        "Kendall's tau: order of E_j's distances that the code embeddings keep (Eq. 9)": _tau(rows),
    }
    return [
        f"### {title}\n\n{markdown_table(heads, lines)}"
        for title, (heads, lines) in tables.items()
        if lines
    ]


def _collapse(rows: Mapping[str, Results]) -> tuple[list[str], list[list[str]]]:
    """Of the tables that the models read, score with, and sum up from codes."""
    spectra = {name: [result["spectra"] for result in row] for name, row in rows.items()}
    tables = [table for table in TABLES if any(table in row[0] for row in spectra.values())]
    lines = [
        [
            name,
            *(
                mean_and_deviation([seed[table]["collapsed"] for seed in row if table in seed])
                for table in tables
            ),
        ]
        for name, row in spectra.items()
        if row[0]
    ]
    return ["method", *(table.replace("_", " ") for table in tables)], lines


def _codes(rows: Mapping[str, Results]) -> tuple[list[str], list[list[str]]]:
    """Means over the seeds, of each level where there is one."""
    lines = []
    for name, row in rows.items():
        for modality in row[0]["codes"]:
            seeds = [result["codes"][modality] for result in row]
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
    heads = ["method", "modality", "codes", "in use", "perplexity", "dead", "items sharing an ID"]
    return heads, lines


def _levels(seeds: Sequence[Sequence[float]], form: str) -> str:
    return ", ".join(format(mean(level), form) for level in zip(*seeds, strict=True))


def _tau(rows: Mapping[str, Results]) -> tuple[list[str], list[list[str]]]:
    lines = []
    for name, row in rows.items():
        for modality in row[0]["tau"]:
            taus = [result["tau"][modality] for result in row]
            figures = [
                mean_and_deviation([tau[stage] for tau in taus if tau[stage] is not None])
                for stage in TAU_STAGES
            ]
            lines.append([name, modality, *figures])
    return ["method", "modality", *TAU_STAGES], lines
