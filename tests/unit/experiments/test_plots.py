import numpy as np
import pytest

from experiments.plots import panel_figure
from experiments.study import Panel

BARS = Panel("bars", ("ndcg@10", "hr@10"))


def cell(method, ndcg, *, tau=None, cold=0, spectra=None):
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
    spectra = {name: {"log10": values} for name, values in (spectra or {}).items()}
    return {"method": method, "test": test, "tau": tau or {}, "spectra": spectra}


def taus(text, visual):
    return {
        name: {"quantized": before, "fine-tuned": after}
        for name, (before, after) in (("text", text), ("visual", visual))
    }


OURS = {"input": [0.0, -1.0, -2.0], "target": [0.0, -0.5, -1.0]}
CELLS = [
    cell("SASRec", 0.10, spectra={"input": [0.0, -3.0]}),
    cell("MME-SID", 0.20, tau=taus((0.5, 0.4), (0.3, None)), cold=4, spectra=OURS),
    cell("SASRec", 0.14, spectra={"input": [0.0, -4.0]}),
    cell("MME-SID", 0.26, tau=taus((0.7, 0.2), (0.5, 0.4)), spectra=OURS),
]


def heights(figure):
    """Of each series, by its name in the legend, the heights of the bars."""
    (axes,) = figure.axes
    return {
        container.get_label(): [patch.get_height() for patch in container.patches]
        for container in axes.containers
        if hasattr(container, "patches")
    }


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def curves(figure):
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}


def test_the_metrics_of_each_method_are_means_over_its_cells():
    figure = panel_figure(BARS, CELLS)
    assert labels(figure) == ["SASRec", "MME-SID"]
    found = heights(figure)
    assert list(found) == ["ndcg@10", "hr@10"]
    assert found["ndcg@10"] == pytest.approx([0.12, 0.23])
    assert found["hr@10"] == pytest.approx([0.24, 0.46])


def test_a_single_metric_is_named_at_its_axis():
    (axes,) = panel_figure(Panel("bars", ("hr@10",)), CELLS).axes
    assert axes.get_ylabel() == "hr@10, test, history masked"


def test_a_panel_shows_the_rows_it_names():
    assert labels(panel_figure(Panel("bars", ("hr@10",), ("MME-SID", "ME")), CELLS)) == ["MME-SID"]


def test_groups_leave_out_what_no_user_has_a_target_of():
    found = heights(panel_figure(Panel("groups"), CELLS))
    assert found["head"] == pytest.approx([0.18, 0.345])
    assert found["tail"] == pytest.approx([0.06, 0.115])
    # Of MME-SID a single cell has users with a cold target, of SASRec none.
    assert found["cold"] == pytest.approx([np.nan, 0.05], nan_ok=True)


def test_tau_is_shown_before_and_after_for_methods_that_have_it():
    figure = panel_figure(Panel("tau"), CELLS)
    assert labels(figure) == ["MME-SID\ntext", "MME-SID\nvisual"]
    found = heights(figure)
    assert found["quantized"] == pytest.approx([0.6, 0.4])
    # Of the visual embeddings a single cell has a tau.
    assert found["fine-tuned"] == pytest.approx([0.3, 0.4])


def test_spectra_of_one_table_are_named_by_their_methods():
    figure = panel_figure(Panel("spectra", tables={"input": None}), CELLS)
    assert curves(figure) == {"SASRec": [0.0, -3.5], "MME-SID": OURS["input"]}


def test_spectra_of_several_tables_come_from_the_methods_that_have_them():
    panel = Panel("spectra", tables={"input": ("MME-SID",), "target": None})
    assert curves(panel_figure(panel, CELLS)) == {
        "MME-SID, input": OURS["input"],
        "MME-SID, target": OURS["target"],
    }


@pytest.mark.parametrize(
    "panel",
    [Panel("bars", ("hr@10",), ("ME",)), Panel("tau"), Panel("spectra", tables={"input": None})],
)
def test_what_no_cell_has_is_no_figure(panel):
    assert panel_figure(panel, [cell("popularity", 0.1)]) is None
