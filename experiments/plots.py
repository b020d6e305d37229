"""The finished cells as figures: PNG files. Each `.._figure` builds what its `plot_..` writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.table import GROUPS
from shared.errors import InvalidInputError

METRICS = ("ndcg@10", "hr@10")
STAGES = ("quantized", "fine-tuned")
BARS_SHARE = 0.8
DOTS_PER_INCH = 150

# What `compute_cell` keeps of a cell as JSON.
Result = Mapping[str, Any]


def plot_table(cells: Sequence[Result], path: Path) -> None:
    """nDCG@10 and HR@10 of each method on test, history masked. Raises as `table_figure` does."""
    _write(table_figure(cells), path)


def plot_groups(cells: Sequence[Result], path: Path) -> None:
    """nDCG@10 of each method by the target's group. Raises as `groups_figure` does."""
    _write(groups_figure(cells), path)


def plot_tau(cells: Sequence[Result], path: Path) -> None:
    """Kendall's tau before and after fine-tuning. Raises as `tau_figure` does."""
    _write(tau_figure(cells), path)


def plot_spectra(spectra: Mapping[str, Sequence[float]], path: Path) -> None:
    """Singular values of embeddings (Fig. 3b, 4b). Raises as `spectra_figure` does."""
    _write(spectra_figure(spectra), path)


def table_figure(cells: Sequence[Result]) -> Figure:
    """A bar a method and metric: the mean over the seeds, with their standard deviation.

    Raises InvalidInputError without cells.
    """
    rows = _rows(cells)
    series = {
        metric: [[cell["test"]["masked"][metric] for cell in row] for row in rows.values()]
        for metric in METRICS
    }
    return _bars(list(rows), series, "test, history masked")


def groups_figure(cells: Sequence[Result]) -> Figure:
    """A bar a method and group of targets; none where no user has a target of the group.

    Raises InvalidInputError without cells.
    """
    rows = _rows(cells)

    def values(row: Sequence[Result], group: str) -> list[float]:
        results = [cell["test"]["groups"][group] for cell in row]
        return [result["masked"]["ndcg@10"] for result in results if result["users"]]

    series = {group: [values(row, group) for row in rows.values()] for group in GROUPS}
    return _bars(list(rows), series, "ndcg@10, test, history masked")


def tau_figure(cells: Sequence[Result]) -> Figure:
    """A pair of bars a method and modality, for the methods that have code embeddings.

    Raises InvalidInputError when no cell has a tau.
    """
    rows = _rows([cell for cell in cells if cell["tau"]])
    labels: list[str] = []
    series: dict[str, list[list[float]]] = {stage: [] for stage in STAGES}
    for name, row in rows.items():
        for modality in row[0]["tau"]:
            labels.append(f"{name}\n{modality}")
            for stage in STAGES:
                series[stage].append([cell["tau"][modality][stage] for cell in row])
    return _bars(labels, series, "Kendall's tau against E_j")


def spectra_figure(spectra: Mapping[str, Sequence[float]]) -> Figure:
    """A line an embedding: its singular values, the largest first, as shares of the largest.

    Raises InvalidInputError without spectra, and for one that is empty, all 0, negative or not
    finite.
    """
    if not spectra:
        raise InvalidInputError.of("spectra", "name no embedding")
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for name, spectrum in spectra.items():
        values = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
        if not (np.isfinite(values).all() and values.any() and (values >= 0).all()):
            raise InvalidInputError.of(
                f"spectra.{name}", "must be finite, at least 0, and hold a value above 0"
            )
        axes.plot(np.arange(1, len(values) + 1), values / values[0], label=name)
    axes.set_yscale("log")
    axes.set_xlabel("dimension")
    axes.set_ylabel("singular value / the largest")
    axes.legend()
    return figure


def _rows(cells: Sequence[Result]) -> dict[str, list[Result]]:
    """The cells of each method, one a seed, methods in the order they come in."""
    if not cells:
        raise InvalidInputError.of("cells", "hold nothing to show")
    rows: dict[str, list[Result]] = {}
    for cell in cells:
        rows.setdefault(cell["method"], []).append(cell)
    return rows


def _bars(
    labels: Sequence[str], series: Mapping[str, Sequence[Sequence[float]]], quantity: str
) -> Figure:
    """Beside one another at each label, a bar a series: of each, the values over the seeds."""
    figure = Figure(figsize=(max(6.4, 1.2 * len(labels)), 4.8), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(labels))
    width = BARS_SHARE / len(series)
    for order, (name, columns) in enumerate(series.items()):
        axes.bar(
            places + (order - (len(series) - 1) / 2) * width,
            [mean(values) if values else np.nan for values in columns],
            width,
            yerr=[stdev(values) if len(values) > 1 else 0.0 for values in columns],
            capsize=3,
            label=name,
        )
    axes.set_xticks(places, labels, rotation=30, ha="right")
    axes.set_ylabel(quantity)
    axes.legend()
    return figure


def _write(figure: Figure, path: Path) -> None:
    """Folders are made if missing. Agg needs no display."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH)
