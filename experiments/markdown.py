"""Figures of several seeds as the cells of a Markdown table."""

from collections.abc import Sequence
from statistics import mean, stdev


def mean_and_deviation(values: Sequence[float], digits: int = 4) -> str:
    """mean ± standard deviation; of one seed its value, and "-" where there is none."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
