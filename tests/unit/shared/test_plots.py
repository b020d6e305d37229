from itertools import pairwise
from statistics import stdev

import numpy as np
import pytest
from matplotlib.colors import same_color

from shared.errors import InvalidInputError
from shared.plots import (
    LOWEST_SHOWN,
    Curve,
    bars_figure,
    lines_figure,
    spectra_figure,
    write_figure,
)

LABELS = ["SASRec", "MME-SID"]
SERIES = {"ndcg@10": [[0.10, 0.14], [0.20, 0.26]], "hr@10": [[0.3], []]}
CURVES = [
    Curve("ours, input", [[0.0, -1.0, -3.0], [0.0, -2.0, -5.0]], "ours"),
    Curve("ours, target", [[0.0, -1.0]], "ours"),
    Curve("theirs", [[0.0, -300.0]], "theirs"),
]


def bars(figure):
    """Of each series, by its name in the legend, the heights of the bars and their deviations."""
    (axes,) = figure.axes
    found = {}
    for container in axes.containers:
        if hasattr(container, "patches"):
            heights = [patch.get_height() for patch in container.patches]
            drawn = () if container.errorbar is None else container.errorbar.lines[2]
            halves = [
                np.ptp(segment[:, 1]) / 2 for errors in drawn for segment in errors.get_segments()
            ]
            found[container.get_label()] = (heights, halves)
    return found


def test_bars_are_means_with_the_deviation_of_the_seeds():
    found = bars(bars_figure(LABELS, SERIES, "test"))
    heights, deviations = found["ndcg@10"]
    assert heights == pytest.approx([0.12, 0.23])
    assert deviations == pytest.approx([stdev([0.10, 0.14]), stdev([0.20, 0.26])])
    heights, deviations = found["hr@10"]
    assert heights == pytest.approx([0.3, np.nan], nan_ok=True)
    assert deviations == []  # a single seed has none


def test_bars_of_a_label_stand_beside_one_another_in_colours_of_their_own():
    (axes,) = bars_figure(LABELS, SERIES, "test").axes
    edges = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches)
    assert len(edges) == 4
    assert all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(edges))
    colours = [c.patches[0].get_facecolor() for c in axes.containers if hasattr(c, "patches")]
    assert not same_color(colours[0], colours[1])


def test_a_legend_names_the_series_where_there_are_several():
    (legend,) = bars_figure(LABELS, SERIES, "test").legends
    assert [text.get_text() for text in legend.get_texts()] == ["ndcg@10", "hr@10"]
    assert bars_figure(LABELS, {"ndcg@20": [[0.1], [0.2]]}, "ndcg@20").legends == []


def test_a_curve_is_the_mean_of_its_seeds():
    (axes,) = spectra_figure(CURVES).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["ours, input"].get_xdata()) == [1, 2, 3]
    assert list(lines["ours, input"].get_ydata()) == pytest.approx([0.0, -1.5, -4.0])
    assert list(lines["theirs"].get_ydata()) == [0.0, LOWEST_SHOWN]


@pytest.mark.parametrize(("log_dimensions", "scale"), [(False, "linear"), (True, "log")])
def test_dimensions_are_counted_on_the_scale_asked_for(log_dimensions, scale):
    (axes,) = spectra_figure(CURVES, log_dimensions=log_dimensions).axes
    assert axes.get_xscale() == scale


def test_curves_of_a_group_share_their_colour_and_differ_in_their_dashes():
    (axes,) = spectra_figure(CURVES).axes
    first, second, other = axes.lines
    assert same_color(first.get_color(), second.get_color())
    assert first.get_linestyle() != second.get_linestyle()
    assert not same_color(first.get_color(), other.get_color())


@pytest.mark.parametrize("many", [10, 20])
def test_many_groups_have_colours_of_their_own(many):
    (axes,) = spectra_figure([Curve(str(n), [[0.0, -1.0]], str(n)) for n in range(many)]).axes
    assert len({tuple(line.get_color()) for line in axes.lines}) == many


LONG = [Curve(f"SE-SID-{n}, codes collaborative", [[0.0, -1.0]], str(n)) for n in range(5)]


@pytest.mark.parametrize(
    "figure",
    [bars_figure(LABELS, SERIES, "test"), spectra_figure(CURVES), spectra_figure(LONG)],
    ids=["bars", "spectra", "long names"],
)
def test_the_legend_lies_outside_the_axes_and_inside_the_figure(figure, tmp_path):
    write_figure(figure, tmp_path / "figure.png")
    (legend,), (axes,) = figure.legends, figure.axes
    extent = legend.get_window_extent()
    assert extent.y0 >= axes.get_window_extent().y1
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1


def test_a_figure_is_written_as_png_into_a_new_folder(tmp_path):
    path = tmp_path / "figures" / "figure.png"
    write_figure(bars_figure(LABELS, SERIES, "test"), path)
    written = path.read_bytes()
    assert written.startswith(b"\x89PNG\r\n\x1a\n")
    assert b"IEND" in written[-12:]


def test_nothing_to_show_is_no_figure():
    with pytest.raises(InvalidInputError, match="series"):
        bars_figure([], {"a": []}, "test")
    with pytest.raises(InvalidInputError, match="curves"):
        spectra_figure([])


@pytest.mark.parametrize("seeds", [[], [[]]])
def test_a_curve_without_values_is_named(seeds):
    with pytest.raises(InvalidInputError) as caught:
        spectra_figure([Curve("E_x", seeds, "ours")])
    assert caught.value.fields[0].field == "curves.E_x"


def test_a_line_has_a_mark_at_each_place():
    figure = lines_figure([0, 10], {"with": [0.2, 0.3], "without": [0.2, 0.1]}, "events", "nDCG")
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"with": [[0, 0.2], [10, 0.3]], "without": [[0, 0.2], [10, 0.1]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("events", "nDCG")


def test_lines_need_a_value_a_place():
    with pytest.raises(InvalidInputError, match=r"series\.with"):
        lines_figure([0, 10], {"with": [0.2]}, "events", "nDCG")
    with pytest.raises(InvalidInputError, match="nothing to show"):
        lines_figure([], {}, "events", "nDCG")
