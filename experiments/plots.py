"""The finished cells as figures: a panel of a study from the results that a table prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.analysis_tables import TAU_STAGES
from experiments.study import Panel
from experiments.table import GROUPS
from shared.plots import Curve, bars_figure, spectra_figure

# What `compute_cell` keeps of a cell as JSON.
Result = Mapping[str, Any]


def panel_figure(panel: Panel, cells: Sequence[Result]) -> Figure | None:
    """A panel over the cells of a study; None where no cell has what it shows."""
    chosen = [cell for cell in cells if panel.rows is None or cell["method"] in panel.rows]
    if not chosen:
        return None
    match panel.kind:
        case "bars":
            return metrics_figure(chosen, panel.metrics)
        case "groups":
            return groups_figure(chosen)
        case "tau":
            return tau_figure(chosen)
        case "spectra":
            return tables_figure(chosen, panel.tables)


def metrics_figure(cells: Sequence[Result], metrics: Sequence[str]) -> Figure:
    """A bar a method and metric, of test with the history masked."""
    rows = _rows(cells)
    series = {
        metric: [[cell["test"]["masked"][metric] for cell in row] for row in rows.values()]
        for metric in metrics
    }
    named = f"{metrics[0]}, " if len(metrics) == 1 else ""
    return bars_figure(list(rows), series, f"{named}test, history masked")


def groups_figure(cells: Sequence[Result]) -> Figure:
    """A bar a method and group of targets; none where no user has a target of the group."""
    rows = _rows(cells)

    def values(row: Sequence[Result], group: str) -> list[float]:
        results = [cell["test"]["groups"][group] for cell in row]
        return [result["masked"]["ndcg@10"] for result in results if result["users"]]

    series = {group: [values(row, group) for row in rows.values()] for group in GROUPS}
    return bars_figure(list(rows), series, "ndcg@10, test, history masked")


def tau_figure(cells: Sequence[Result]) -> Figure | None:
    """A pair of bars a method and modality, for the methods that have code embeddings."""
    labels: list[str] = []
    series: dict[str, list[list[float]]] = {stage: [] for stage in TAU_STAGES}
    for name, row in _rows(cells).items():
        for modality in row[0]["tau"]:
            labels.append(f"{name}\n{modality}")
            for stage in TAU_STAGES:
                taus = [cell["tau"][modality][stage] for cell in row]
                series[stage].append([tau for tau in taus if tau is not None])
    return bars_figure(labels, series, "Kendall's tau against E_j") if labels else None


def tables_figure(
    cells: Sequence[Result], tables: Mapping[str, Sequence[str] | None]
) -> Figure | None:
    """Singular values (Fig. 3b, 4b); tables: of each spectrum, the methods whose it shows."""
    rows = _rows(cells)
    curves = [
        Curve(
            name if len(tables) == 1 else f"{name}, {table.replace('_', ' ')}",
            [cell["spectra"][table]["log10"] for cell in row],
            group=name,
        )
        for name, row in rows.items()
        for table, wanted in tables.items()
        if (wanted is None or name in wanted) and table in row[0]["spectra"]
    ]
    return spectra_figure(curves) if curves else None


def _rows(cells: Sequence[Result]) -> dict[str, list[Result]]:
    """The cells of each method, one a seed, methods in the order they come in."""
    rows: dict[str, list[Result]] = {}
    for cell in cells:
        rows.setdefault(cell["method"], []).append(cell)
    return rows
