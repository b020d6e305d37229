"""Figures as PNG files: bars of means, lines, and spectra. The only place that draws.

Figures are matplotlib's objects without pyplot: nothing global, and Agg needs no display.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shared.errors import InvalidInputError

BARS_SHARE = 0.8
DOTS_PER_INCH = 150
HEIGHT, NARROWEST = 4.8, 6.4
WIDTH_OF_LABEL = 1.2
# With more bars than these, figures above them would run into one another.
MOST_NUMBERED_BARS = 12

# A column of the legend is as wide as its longest name, and a sample of the line or bar.
MOST_COLUMNS = 4
LETTERS_PER_INCH, LETTERS_OF_SAMPLE = 13, 10

# Singular values of a float32 table that vanish are noise below this (log10, over the largest).
LOWEST_SHOWN = -8.0
DASHES = ("solid", "dashed", "dotted", "dashdot")


@dataclass(frozen=True)
class Curve:
    """One line of a figure of spectra.

    seeds: of each, log10 of the singular values over the largest, in falling order.
    group: curves of one group share a colour, and differ in their dashes.
    """

    label: str
    seeds: Sequence[Sequence[float]]
    group: str


def bars_figure(
    labels: Sequence[str], series: Mapping[str, Sequence[Sequence[float]]], quantity: str
) -> Figure:
    """Beside one another at each label, a bar a series: the mean over the seeds' values, with
    their standard deviation where there are several; no bar where there is no value.

    Raises InvalidInputError without labels or series.
    """
    if not labels or not series:
        raise InvalidInputError.of("series", "hold nothing to show")
    figure, axes = _empty(max(NARROWEST, WIDTH_OF_LABEL * len(labels)))
    places = np.arange(len(labels))
    width = BARS_SHARE / len(series)
    for order, (name, columns) in enumerate(series.items()):
        deviations = [stdev(values) if len(values) > 1 else 0.0 for values in columns]
        drawn = axes.bar(
            places + (order - (len(series) - 1) / 2) * width,
            [mean(values) if values else np.nan for values in columns],
            width,
            yerr=deviations if any(len(values) > 1 for values in columns) else None,
            capsize=3,
            label=name,
        )
        if len(labels) * len(series) <= MOST_NUMBERED_BARS:
            axes.bar_label(drawn, fmt="%.4f", padding=2, fontsize="small")
    axes.set_xticks(places, labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_ylabel(quantity)
    if len(series) > 1:
        _legend(figure, list(series))
    return figure


def spectra_figure(curves: Sequence[Curve], *, log_dimensions: bool = False) -> Figure:
    """A line a curve: its mean over the seeds, in a band of their standard deviation (Fig. 3b).

    log_dimensions: for tables of very different widths, of which the narrow would not be seen.

    Raises InvalidInputError without curves, and for one without values.
    """
    if not curves:
        raise InvalidInputError.of("curves", "hold nothing to show")
    figure, axes = _empty(NARROWEST)
    groups = list(dict.fromkeys(curve.group for curve in curves))
    palette = colormaps["tab10" if len(groups) <= 10 else "tab20"]
    drawn: dict[str, int] = {}
    for curve in curves:
        if not curve.seeds or not all(len(values) for values in curve.seeds):
            raise InvalidInputError.of(f"curves.{curve.label}", "has no singular values")
        values = np.maximum(np.array(curve.seeds, dtype=np.float64), LOWEST_SHOWN)
        middle, spread = values.mean(axis=0), values.std(axis=0)
        dimensions = np.arange(1, len(middle) + 1)
        colour = palette(groups.index(curve.group))
        dashes = DASHES[drawn.get(curve.group, 0) % len(DASHES)]
        drawn[curve.group] = drawn.get(curve.group, 0) + 1
        axes.plot(dimensions, middle, color=colour, linestyle=dashes, label=curve.label)
        axes.fill_between(
            dimensions, middle - spread, middle + spread, color=colour, alpha=0.2, linewidth=0
        )
    if log_dimensions:
        axes.set_xscale("log")
    axes.set_xlabel("dimension")
    axes.set_ylabel("log10 (singular value / the largest)")
    _legend(figure, [curve.label for curve in curves])
    return figure


def lines_figure(
    places: Sequence[float], series: Mapping[str, Sequence[float]], place: str, quantity: str
) -> Figure:
    """A line a series, with a mark at each of the places. place, quantity: names of the axes.

    Raises InvalidInputError without series or places, and for a series of another length.
    """
    if not series or not places:
        raise InvalidInputError.of("series", "hold nothing to show")
    figure, axes = _empty(NARROWEST)
    for name, values in series.items():
        if len(values) != len(places):
            raise InvalidInputError.of(f"series.{name}", f"has not {len(places)} values")
        axes.plot(places, values, marker="o", label=name)
    axes.set_xlabel(place)
    axes.set_ylabel(quantity)
    _legend(figure, list(series))
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """As PNG. Folders are made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH)


def _empty(width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """Above the axes, where it hides nothing, in as many columns as fit beside one another."""
    letters = max(len(name) for name in names) + LETTERS_OF_SAMPLE
    fitting = int(figure.get_figwidth() * LETTERS_PER_INCH / letters)
    columns = max(1, min(fitting, MOST_COLUMNS, len(names)))
    figure.legend(loc="outside upper center", ncols=columns, frameon=False)
