import typer
import yaml
from typer.testing import CliRunner

from experiments.several import several


def test_what_is_wanted_of_several_tables_is_computed_and_what_fails_is_told(folder):
    place = {"data": folder.name, "settings": "settings.yaml"}
    (folder / "blind.yaml").write_text("like: settings.yaml\nencoders: {text: null}\n")
    wanted = folder / "wanted.yaml"
    wanted.write_text(
        yaml.safe_dump(
            [
                {"study": "table3", "methods": ["SASRec"], "seeds": [1], **place},
                {"study": "ablations", "methods": ["w/o Fusion"], **place},
                {"study": "table3", "methods": ["MOTOR"], **place, "settings": "blind.yaml"},
            ]
        )
    )
    app = typer.Typer()
    app.command()(several)
    options = ["--data", str(folder.parent), "--work", str(folder / "several"), "--processes", "2"]
    result = CliRunner().invoke(app, [str(wanted), *options])
    assert result.exit_code == 0, result.output
    assert "settings, SASRec, seed 1: validation" in result.output
    assert "settings, w/o Fusion, seed 0: validation" in result.output
    assert "InvalidInputError: data: has none of the modalities of MOTOR" in result.output
    kept = sorted(path.name.rpartition("-")[0] for path in (folder / "several/cells").iterdir())
    assert kept == ["sasrec-1", "w-o-fusion-0"]
