import pytest

from experiments import study
from experiments.method import FIGURES, TABLES, read_method, table_methods
from experiments.study import PANELS_OF_A_TABLE, Panel, read_study
from shared.errors import InvalidInputError

FIGURE_NAMES = sorted(path.stem for path in FIGURES.glob("*.yaml"))


def test_a_table_is_its_rows_and_the_plots_of_every_table():
    found = read_study("ablations")
    assert found.rows == table_methods("ablations")
    assert found.panels is PANELS_OF_A_TABLE
    assert {panel.kind for panel in found.panels.values()} == {"bars", "groups", "tau", "spectra"}


def test_a_figure_takes_its_rows_from_the_tables():
    rows = read_study("figure4").rows
    assert rows == [
        read_method(TABLES / "ablations" / "01_se_sid_mmd.yaml"),
        read_method(TABLES / "ablations" / "02_se_sid_mse.yaml"),
    ]


def test_the_collapse_of_the_paper_is_of_five_inputs_and_one_table_of_targets():
    found = read_study("figure3")
    names = ("SASRec", "E4SRec", "ME", "SE-SID-MMD", "MME-SID")
    assert tuple(row.name for row in found.rows) == names
    assert found.panels["a"] == Panel("bars", ("ndcg@20",))
    assert found.panels["b"] == Panel("spectra", tables={"input": names, "target": ("MME-SID",)})


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_the_panels_of_a_figure_name_its_rows(name):
    found = read_study(name)
    names = {row.name for row in found.rows}
    for panel in found.panels.values():
        assert set(panel.rows or ()) <= names
        assert all(set(rows or ()) <= names for rows in panel.tables.values())


def test_rows_of_a_figure_are_chosen_as_those_of_a_table_are():
    assert [row.name for row in read_study("figure5", ["se_random", "MME-SID"]).rows] == [
        "MME-SID",
        "SE-random",
    ]
    with pytest.raises(InvalidInputError, match=r"^methods: figure5 has no row 'sasrec'"):
        read_study("figure5", ["SASRec"])


def test_an_unknown_study_is_answered_with_those_there_are():
    with pytest.raises(InvalidInputError, match=r"^table: .*ablations.*table3.*figure3"):
        read_study("figure9")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("- a list", "figure"),
        ("rows: []", "figure"),
        ("{rows: [table3/77_none], panels: {}}", "method"),
        ("{rows: [], panels: {a: {kind: pie}}}", "figure1.panels.a.kind"),
        ("{rows: [], panels: {a: {kind: tau, of: ME}}}", "figure1.panels.a.of"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, monkeypatch, text, field):
    (tmp_path / "figure1.yaml").write_text(text)
    monkeypatch.setattr(study, "FIGURES", tmp_path)
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        read_study("figure1")
