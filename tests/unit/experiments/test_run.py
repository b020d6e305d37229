"""A whole table on a made-up catalogue of some items: every row, twice."""

import json
from threading import Thread

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from experiments import cell as cells
from experiments import ingredients
from experiments.catalogue import read_catalogue
from experiments.ingredients import Ingredients
from experiments.method import table_methods
from experiments.run import run
from experiments.settings import read_settings
from experiments.study import read_study
from shared.errors import MmesidError
from shared.modeling.progress import ignore_progress
from tests.unit.experiments.conftest import SETTINGS, USERS


def _invoke(folder, *options, work="work"):
    app = typer.Typer()
    app.command()(run)
    base = ["--data", str(folder), "--settings", str(folder / "settings.yaml")]
    return CliRunner().invoke(app, [*options, *base, "--work", str(folder / work)])


@pytest.mark.parametrize("table", ["table3", "ablations"])
def test_every_row_of_a_table_is_trained_evaluated_and_reported(folder, table):
    result = _invoke(folder, table, "--seeds", "2")
    assert result.exit_code == 0, result.output
    document = json.loads((folder / "work" / f"{table}-shop.json").read_text())
    names = [method.name for method in table_methods(table)]
    assert [c["method"] for c in document["cells"]] == [name for name in names for _ in (0, 1)]
    for one in document["cells"]:
        assert one["test"]["users"] == USERS
        assert set(one["test"]["groups"]) == {"head", "tail", "cold"}
        assert one["test"]["masked"] != one["test"]["unmasked"]
    for plot in ("", "-groups", "-tau", "-spectra"):
        written = (folder / "work" / f"{table}-shop{plot}.png").read_bytes()
        assert written.startswith(b"\x89PNG")
    markdown = (folder / "work" / f"{table}-shop.md").read_text()
    for name in names:
        assert f"| {name} | 0." in markdown
    assert "paired t-test over the users" in markdown
    assert "MME-SID runs without visual: the data has none." in markdown
    ours = next(c for c in document["cells"] if c["method"] == "MME-SID")
    assert {"input", "target", "fused", "codes_text"} <= set(ours["spectra"])
    assert set(ours["tau"]) == set(ours["codes"]) == {"collaborative", "text"}
    assert "| MME-SID | text | 4 | 1" in markdown
    assert "| method | modality | quantized | fine-tuned |" in markdown


def test_rows_without_semantic_ids_have_spectra_alone(folder):
    _invoke(folder, "table3", "--methods", "popularity,SASRec,ME", "--seeds", "1")
    document = json.loads((folder / "work" / "table3-shop.json").read_text())
    popularity, sasrec, me = document["cells"]
    assert popularity["spectra"] == popularity["codes"] == sasrec["codes"] == sasrec["tau"] == {}
    assert list(sasrec["spectra"]) == ["input"]
    assert me["codes"] == {}
    assert me["spectra"]["input"]["dimensions"] == 16


def test_figures_are_drawn_from_cells_that_they_share_with_the_tables(folder, monkeypatch):
    for table in ("table3", "ablations"):
        _invoke(folder, table, "--seeds", "1")

    def refuse(*_args, **_options):
        raise AssertionError("it was trained again")

    monkeypatch.setattr(cells, "train_ranker", refuse)
    for figure in ("figure3", "figure4", "figure5"):
        result = _invoke(folder, figure, "--seeds", "1")
        assert result.exit_code == 0, result.output
        for panel in read_study(figure).panels:
            written = (folder / "work" / f"{figure}-shop-{panel}.png").read_bytes()
            assert written.startswith(b"\x89PNG")


def test_the_table_of_quantizers_measures_every_row_and_ranks_nothing(folder, monkeypatch):
    monkeypatch.setattr(cells, "train_ranker", None)
    result = _invoke(folder, "quantizers", "--seeds", "2")
    assert result.exit_code == 0, result.output
    work = folder / "work"
    document = json.loads((work / "quantizers-shop.json").read_text())
    names = [method.name for method in table_methods("quantizers")]
    assert [c["method"] for c in document["cells"]] == [name for name in names for _ in (0, 1)]
    for one in document["cells"]:
        assert set(one["modalities"]) == {"collaborative", "text"}
    markdown = (work / "quantizers-shop.md").read_text()
    for name in names:
        assert markdown.count(f"| {name} | ") == 3
    for plot in ("tau", "collisions"):
        assert (work / f"quantizers-shop-{plot}.png").read_bytes().startswith(b"\x89PNG")


def test_a_quantizer_that_was_trained_is_not_trained_again(folder, monkeypatch):
    options = ("quantizers", "--methods", "RQ-KMeans,MSE", "--seeds", "1")
    first = _invoke(folder, *options)
    monkeypatch.setattr(ingredients, "train_quantizer", None)
    second = _invoke(folder, *options)
    assert second.exit_code == 0, second.output
    assert first.stdout == second.stdout


def test_a_finished_cell_is_not_computed_again(folder, monkeypatch):
    options = ("table3", "--methods", "E4SRec", "--seeds", "1")
    first = _invoke(folder, *options)

    def refuse(*_args, **_options):
        raise AssertionError("it was trained again")

    monkeypatch.setattr(cells, "train_ranker", refuse)
    second = _invoke(folder, *options)
    assert second.exit_code == 0, second.output
    assert first.stdout == second.stdout


def test_other_settings_make_another_cell(folder, monkeypatch):
    trained = []

    def record(*_args, **_options):
        trained.append(True)
        raise MmesidError("stopped")

    monkeypatch.setattr(cells, "train_ranker", record)
    (folder / "settings.yaml").write_text(SETTINGS.replace("max_history: 5", "max_history: 4"))
    result = _invoke(folder, "table3", "--methods", "E4SRec", "--seeds", "1")
    (folder / "settings.yaml").write_text(SETTINGS)
    assert trained == [True]
    assert result.exit_code == 1


def test_bad_input_ends_with_its_field_and_cause(folder):
    result = _invoke(folder, "table3", "--methods", "Oracle")
    assert result.exit_code == 1
    assert "methods: table3 has no row 'oracle'" in result.stderr


def test_two_tables_that_need_the_same_thing_compute_it_once(folder, tmp_path, monkeypatch):
    settings = read_settings(folder / "settings.yaml")
    catalogue = read_catalogue(folder, settings.data, lambda _line: None)

    def open_work():
        return Ingredients(catalogue, settings, tmp_path, lambda _line: None)

    one, other = open_work(), open_work()
    train, trainings, meanwhile = ingredients.train_sasrec, [], []

    def and_meanwhile(*arguments, **options):
        trainings.append(True)
        if not meanwhile:
            meanwhile.append(Thread(target=lambda: other.sasrec({}, 0, ignore_progress)))
            meanwhile[0].start()
        return train(*arguments, **options)

    monkeypatch.setattr(ingredients, "train_sasrec", and_meanwhile)
    kept = one.sasrec({}, 0, ignore_progress)
    meanwhile[0].join()
    assert trainings == [True]
    assert kept.seconds == other.sasrec({}, 0, ignore_progress).seconds
    assert not list((tmp_path / "ingredients").glob("unfinished-*"))


def test_several_processes_compute_the_cells_that_one_would(folder):
    rows = ["--methods", "popularity,SASRec,SASRec from content"]
    one = _invoke(folder, "table3", *rows, "--seeds", "2", work="alone")
    two = _invoke(folder, "table3", *rows, "--seeds", "2", "--processes", "2", work="together")
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    ranks = [_ranks(folder / work) for work in ("alone", "together")]
    assert len(ranks[0]) == 6
    assert ranks[0] == ranks[1]


def _ranks(work):
    return {
        path.parent.name: np.load(path)["masked"].tolist() for path in work.glob("cells/*/*.npz")
    }
