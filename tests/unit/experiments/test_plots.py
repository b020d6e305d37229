from itertools import pairwise
from statistics import stdev

import numpy as np
import pytest
from matplotlib.colors import same_color

from experiments.plots import (
    groups_figure,
    plot_groups,
    plot_spectra,
    plot_table,
    plot_tau,
    spectra_figure,
    table_figure,
    tau_figure,
)
from shared.errors import InvalidInputError


def cell(method, ndcg, *, tau=None, cold=0):
    """A result as a cell writes it, with all its figures made from one."""

    def metrics(value):
        return {"ndcg@10": value, "hr@10": 2 * value}

    def group(users, value):
        return {"users": users, "masked": metrics(value), "unmasked": metrics(value / 4)}

    test = {
        **group(50, ndcg),
        "groups": {
            "head": group(30, 1.5 * ndcg),
            "tail": group(20 - cold, 0.5 * ndcg),
            "cold": group(cold, 0.25 * ndcg),
        },
    }
    return {"method": method, "test": test, "tau": tau}


def taus(text, visual):
    return {
        name: {"quantized": before, "fine-tuned": after}
        for name, (before, after) in (("text", text), ("visual", visual))
    }


CELLS = [
    cell("SASRec", 0.10),
    cell("MME-SID", 0.20, tau=taus((0.5, 0.4), (0.3, 0.2)), cold=4),
    cell("SASRec", 0.14),
    cell("MME-SID", 0.26, tau=taus((0.7, 0.2), (0.5, 0.4))),
]
SPECTRA = {"E_c": [4.0, 2.0, 0.0], "E_x": [1.0, 8.0, 4.0, 2.0]}


def bars(figure):
    """Of each series, by its name in the legend, the heights of the bars and their error bars."""
    (axes,) = figure.axes
    found = {}
    for container in axes.containers:
        if hasattr(container, "patches"):
            heights = [patch.get_height() for patch in container.patches]
            _, _, (errors,) = container.errorbar.lines
            halves = [
                np.ptp(segment[:, 1]) / 2 for segment in errors.get_segments() if segment.size
            ]
            found[container.get_label()] = (heights, halves)
    return found


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_the_table_shows_means_and_deviations_over_the_seeds():
    figure = table_figure(CELLS)
    assert labels(figure) == ["SASRec", "MME-SID"]
    found = bars(figure)
    assert list(found) == ["ndcg@10", "hr@10"]
    for name, factor in (("ndcg@10", 1), ("hr@10", 2)):
        heights, deviations = found[name]
        assert heights == pytest.approx([0.12 * factor, 0.23 * factor])
        expected = [stdev([0.10, 0.14]) * factor, stdev([0.20, 0.26]) * factor]
        assert deviations == pytest.approx(expected)


def test_one_seed_has_no_deviation():
    heights, deviations = bars(table_figure(CELLS[:1]))["ndcg@10"]
    assert heights == pytest.approx([0.10])
    assert deviations == [0]


def test_bars_of_a_method_stand_beside_one_another():
    (axes,) = groups_figure(CELLS).axes
    edges = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches)
    assert len(edges) == 6
    assert all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(edges))
    colours = [container.patches[0].get_facecolor() for container in axes.containers[1::2]]
    assert not same_color(colours[0], colours[1])


def test_groups_leave_out_what_no_user_has_a_target_of():
    found = bars(groups_figure(CELLS))
    assert found["head"][0] == pytest.approx([0.18, 0.345])
    assert found["tail"][0] == pytest.approx([0.06, 0.115])
    # Of MME-SID a single cell has users with a cold target, of SASRec none.
    assert found["cold"][0] == pytest.approx([np.nan, 0.05], nan_ok=True)


def test_tau_is_shown_before_and_after_for_methods_that_have_it():
    figure = tau_figure(CELLS)
    assert labels(figure) == ["MME-SID\ntext", "MME-SID\nvisual"]
    found = bars(figure)
    assert found["quantized"][0] == pytest.approx([0.6, 0.4])
    assert found["fine-tuned"][0] == pytest.approx([0.3, 0.3])


def test_spectra_fall_from_one_on_a_log_scale():
    (axes,) = spectra_figure(SPECTRA).axes
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["E_c"].get_ydata()) == [1.0, 0.5, 0.0]
    assert list(lines["E_x"].get_ydata()) == [1.0, 0.5, 0.25, 0.125]
    assert list(lines["E_x"].get_xdata()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("plot", "shown"),
    [(plot_table, CELLS), (plot_groups, CELLS), (plot_tau, CELLS), (plot_spectra, SPECTRA)],
)
def test_a_figure_is_written_as_png(plot, shown, tmp_path):
    path = tmp_path / "figures" / "figure.png"
    plot(shown, path)
    written = path.read_bytes()
    assert written.startswith(b"\x89PNG\r\n\x1a\n")
    assert b"IEND" in written[-12:]


@pytest.mark.parametrize("figure", [table_figure, groups_figure, tau_figure])
def test_no_cells_are_no_figure(figure):
    with pytest.raises(InvalidInputError, match="cells"):
        figure([])


def test_tau_of_methods_without_codes_is_no_figure():
    with pytest.raises(InvalidInputError, match="cells"):
        tau_figure([cell("SASRec", 0.1)])


@pytest.mark.parametrize("wrong", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_a_spectrum_without_meaning_is_named(wrong):
    with pytest.raises(InvalidInputError) as caught:
        spectra_figure({"E_c": [1.0], "E_x": wrong})
    assert caught.value.fields[0].field == "spectra.E_x"


def test_no_spectra_are_no_figure():
    with pytest.raises(InvalidInputError, match="spectra"):
        spectra_figure({})
